package load

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/drupe-os/drupe/cue/diagnose"
)

// TestReadme checks every block of CUE in the README for app authors. Blocks
// that show part of a document are put where they belong; what they leave out
// is no mistake.
func TestReadme(t *testing.T) {
	text, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```cue\n(.*?)```").FindAllStringSubmatch(string(text), -1)
	if len(blocks) < 7 {
		t.Fatalf("%d blocks", len(blocks))
	}
	files := map[string]string{}
	for i, b := range blocks {
		block := b[1]
		switch {
		case strings.HasPrefix(block, "command:"):
			block = "services: web: {ports: redis: {}, run: container: {image: \"oci:x\", " + block + "}}"
		case strings.HasPrefix(block, "constraints:"):
			block = "services: web: {" + block + "}"
		}
		files[fmt.Sprintf("%d/a.cue", i)] = block
	}
	write(t, files)
	for name, block := range files {
		_, diags := Files([]string{name})
		for _, d := range diags {
			if d.Code != diagnose.MissingField {
				t.Errorf("%s\n%+v", block, d)
			}
		}
	}
}
