package e2e

import (
	"bytes"
	"os/exec"
	"testing"
)

// What a registrant, an operator or a client may write is fuzzed in every run:
// tags, route commands, hosts, paths, lists of networks. `make fuzz` has all
// targets.
func TestFuzz(t *testing.T) {
	d := size(t).Fuzz
	for _, target := range []string{"FuzzParseTag", "FuzzCommands", "FuzzHost", "FuzzPath", "FuzzAccess"} {
		t.Run(target, func(t *testing.T) {
			cmd := exec.Command("go", "test", "../route", "-run", "^$", "-fuzz", "^"+target+"$", "-fuzztime", d.String())
			out, err := cmd.CombinedOutput()
			if err != nil || !bytes.Contains(out, []byte("fuzz: elapsed")) { // go test is content without a target
				t.Fatalf("%v\n%s", err, out)
			}
			t.Logf("%s", out[max(0, len(out)-300):])
		})
	}
}
