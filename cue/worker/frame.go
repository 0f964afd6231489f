package worker

import (
	"encoding/binary"
	"encoding/json"
	"io"

	"github.com/drupe-os/drupe/cue/diagnose"
	"github.com/drupe-os/drupe/cue/load"
	"github.com/drupe-os/drupe/sdk"
)

// maxFrame bounds one message in either direction.
const maxFrame = 32 << 20

// request is one piece of work. Without a kind, Text is CUE source.
type request struct {
	Kind string `json:"kind,omitempty"`
	Name string `json:"name"`
	Text string `json:"text"`
}

// answer is what came of it, and how much memory the worker holds now.
type answer struct {
	Documents   []load.Loaded         `json:"documents,omitempty"`
	Diagnostics []diagnose.Diagnostic `json:"diagnostics,omitempty"`
	Resident    int64                 `json:"resident"` // bytes, after the work
}

// send writes a message as 4 bytes of length, little-endian, and JSON.
func send(w io.Writer, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if len(body) > maxFrame {
		return sdk.Errorf(sdk.TooLarge, "source", "%d bytes, more than %d", len(body), maxFrame)
	}
	_, err = w.Write(append(binary.LittleEndian.AppendUint32(make([]byte, 0, 4+len(body)), uint32(len(body))), body...))
	return err
}

// receive reads a message. Errors: io.EOF between messages.
func receive(r io.Reader, v any) error {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return err
	}
	n := binary.LittleEndian.Uint32(head[:])
	if n > maxFrame {
		return sdk.Errorf(sdk.TooLarge, "answer", "%d bytes, more than %d", n, maxFrame)
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(r, body); err != nil {
		return err
	}
	return json.Unmarshal(body, v)
}
