package canary

import "testing"

func TestLabel(t *testing.T) {
	for service, label := range map[string]string{"": "*", "web": "web"} {
		if got := Label(service); got != label || Label(got) != label {
			t.Errorf("Label(%q) = %q, want %q", service, got, label)
		}
		if got := Unlabel(label); got != service || Unlabel(got) != service {
			t.Errorf("Unlabel(%q) = %q, want %q", label, got, service)
		}
	}
}

func TestJoinReasons(t *testing.T) {
	f := func(want string, reasons ...string) {
		t.Helper()
		if got := JoinReasons(reasons...); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	f("")
	f("", "", "")
	f("a", "", "a")
	f("a; b", "a", "", "b")
}
