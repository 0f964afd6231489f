package disk

import "testing"

// BenchmarkSave is one synced batch of ten records: what a state costs before
// it is said.
func BenchmarkSave(b *testing.B) {
	s, _, err := Open(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	var recs []Record
	for i := range 10 {
		recs = append(recs, record(i))
	}
	for b.Loop() {
		if err := s.Save(recs, nil); err != nil {
			b.Fatal(err)
		}
	}
}
