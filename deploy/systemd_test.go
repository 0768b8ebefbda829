package deploy

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// The units keep the programs in a small box: systemd's own score of their
// exposure stays at 2.0 or below (0 is best, 10 worst).
func TestSystemdUnits(t *testing.T) {
	f := func(name string, wants ...string) {
		t.Helper()
		unit, err := os.ReadFile("systemd/" + name)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range wants {
			if !strings.Contains(string(unit), want+"\n") {
				t.Errorf("%s lacks %s", name, want)
			}
		}
		if _, err := exec.LookPath("systemd-analyze"); err != nil {
			t.Log("systemd-analyze is not on this machine: the score was not computed")
			return
		}
		if out, err := exec.Command("systemd-analyze", "security", "--offline=true", "--threshold=20", "systemd/"+name).CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	}
	f("lb.service", "ExecStart=/usr/local/bin/lb run", "StateDirectory=serin", "DynamicUser=yes", "TimeoutStopSec=90s")
	// The sockets are where other units see them, and which strangers may enter.
	f("lb-daemon.service", "ExecStart=/usr/local/bin/lb daemon", "RuntimeDirectory=lb-daemon", "RuntimeDirectoryMode=0755", "DynamicUser=yes", "PrivateTmp=yes")
}
