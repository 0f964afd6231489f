package wire

// Kinds of frame on the stream between an agent and a server.
const (
	FrameHello     byte = 1 // agent: sdk.Hello, first
	FrameReport    byte = 2 // agent: sdk.Report
	FrameHeartbeat byte = 3 // both, empty body
	FrameMachine   byte = 4 // agent: sdk.MachineUpdate
	FrameLogChunk  byte = 5 // agent: sdk.LogChunk
	FrameUsage     byte = 6 // agent: sdk.UsageReport
	FrameSession   byte = 7 // agent: sdk.SessionHello, first on a connection that carries a session

	FrameDesired    byte = 16 // server: sdk.Desired
	FrameReportAck  byte = 17 // server: sdk.ReportAck
	FrameLogRequest byte = 18 // server: sdk.LogRequest
	FrameRefused    byte = 19 // server: UTF-8 text why the session ends
	FrameOpen       byte = 20 // server: sdk.SessionRequest
)
