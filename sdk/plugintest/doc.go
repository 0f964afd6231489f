// Package plugintest tries a framework plugin without a cluster.
//
// A Kernel holds what the real kernel would hold for one framework: documents,
// demands, tasks, offers, timers and the plugin's own store. A test says what
// happens ("launch what is demanded", "this task failed", "a minute passes");
// the framework is called with the events that follow, its actions are checked
// and carried out as the real kernel would, and each is written down as one
// line of text. Run drives a Kernel from text files that hold both the steps
// and the lines expected, so a case is read like a story and updated with
// -update.
//
// The clock stands still unless it is told to move; nothing is random. Events
// and actions pass through the wire codec, so a framework that keeps pointers
// into what it was given, or sends what cannot be encoded, is found out here.
package plugintest
