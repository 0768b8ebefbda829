package deploy

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// The unit keeps the balancer in a small box: systemd's own score of its
// exposure stays at 2.0 or below (0 is best, 10 worst).
func TestSystemdUnit(t *testing.T) {
	unit, err := os.ReadFile("systemd/lb.service")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"ExecStart=/usr/local/bin/lb run", "StateDirectory=serin", "DynamicUser=yes", "TimeoutStopSec=90s"} {
		if !strings.Contains(string(unit), want+"\n") {
			t.Errorf("lb.service lacks %s", want)
		}
	}
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Log("systemd-analyze is not on this machine: the score was not computed")
		return
	}
	if out, err := exec.Command("systemd-analyze", "security", "--offline=true", "--threshold=20", "systemd/lb.service").CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
