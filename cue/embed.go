// Package cue holds the schema module drupe.dev@v1: the CUE that says what may
// be declared, embedded so that it is at hand without a network or a disk.
//
// The packages below it read it: schema compiles it, load turns files into
// documents, diagnose puts mistakes into words, worker does all that in a caged
// process. They are the only users of the CUE library in Drupe.
package cue

import "embed"

// Module is the import path of the schema, without its major version.
const Module = "drupe.dev"

// Files holds the schema module as it stands in this folder.
//
//go:embed cue.mod/module.cue document/*.cue job/*.cue node/*.cue plugin/*.cue role/*.cue service/*.cue task/*.cue unit/*.cue
var Files embed.FS
