package shell

import (
	"os/exec"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestQuote(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		got := Quote(text)
		if got != want {
			t.Errorf("Quote(%q) = %s, want %s", text, got, want)
		}
		out, err := exec.Command("sh", "-c", "printf %s "+got).Output()
		if err != nil || string(out) != text {
			t.Errorf("a shell makes %q of %s (%v)", out, got, err)
		}
	}
	f("lb/canary/web", "lb/canary/web")
	f("lb/canary/*", "'lb/canary/*'")
	f("", "''")
	f(`{"comment": "it's"}`, `'{"comment": "it'\''s"}'`)
	f("$HOME `id` \\ \n ;", "'$HOME `id` \\ \n ;'")
}
