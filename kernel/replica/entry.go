package replica

import (
	"encoding/binary"
	"time"

	"github.com/hashicorp/raft"
)

// An entry's value is: 8 bytes term, 1 byte type, 8 bytes time appended
// (nanoseconds since the epoch, 0: none), 4 bytes length of the extensions,
// the extensions, the data.
const entryHeader = 8 + 1 + 8 + 4

func encodeLog(l *raft.Log) []byte {
	b := make([]byte, 0, entryHeader+len(l.Extensions)+len(l.Data)+sealSize)
	b = binary.LittleEndian.AppendUint64(b, l.Term)
	b = append(b, byte(l.Type))
	var at int64
	if !l.AppendedAt.IsZero() {
		at = l.AppendedAt.UnixNano()
	}
	b = binary.LittleEndian.AppendUint64(b, uint64(at))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(l.Extensions)))
	return append(append(b, l.Extensions...), l.Data...)
}

// decodeLog copies out of the mapped file: raft keeps the entry.
func decodeLog(path string, index uint64, b []byte, out *raft.Log) error {
	if len(b) < entryHeader {
		return corrupt(path, "entry %d has %d bytes", index, len(b))
	}
	le := binary.LittleEndian
	n := int(le.Uint32(b[17:]))
	if n > len(b)-entryHeader {
		return corrupt(path, "entry %d: extensions of %d bytes", index, n)
	}
	*out = raft.Log{Index: index, Term: le.Uint64(b), Type: raft.LogType(b[8])}
	if at := int64(le.Uint64(b[9:])); at != 0 {
		out.AppendedAt = time.Unix(0, at)
	}
	body := append([]byte(nil), b[entryHeader:]...)
	if n > 0 {
		out.Extensions = body[:n:n]
	}
	out.Data = body[n:]
	return nil
}
