package daemon

import (
	"flag"
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// What is answered to what, at which share: testdata/answers.txt, which reads as
// documentation. The random number is always 0.25.
func TestDecide(t *testing.T) {
	type share struct {
		ratio float64
		ok    bool
	}
	half := share{0.5, true}
	var out strings.Builder
	out.WriteString("# request | share | answer | asked, share known\n")
	row := func(asked string, s share) {
		a := Decide(asked, s.ratio, s.ok, 0.25)
		ratio := strconv.FormatFloat(s.ratio, 'g', -1, 64)
		if !s.ok {
			ratio = "unknown"
		}
		fmt.Fprintf(&out, "%-24s | %-7s | %-36s | %s, %v\n", strconv.Quote(asked+"\n"), ratio,
			strconv.Quote(a.Assignment+"\n"+string(a.Arm)+"\n\n"), a.Asked, a.Known)
	}
	section := func(what string) { fmt.Fprintf(&out, "\n# %s\n", what) }

	section("the first time: a fresh assignment, and its arm at once")
	for _, r := range []float64{0, 0.25, 0.26, 1} {
		row("", share{r, true})
	}
	section("later: the arm of the assignment, and the assignment in its shortest form")
	for _, asked := range []string{"0.25", "0.5", "0.4999999999999999", "0.50", ".5", "5e-1", "5E-01", "+0.25", "0", "0.0", "-0", "1e-05", "0.00001", "1e-400", "0.9999999999999999"} {
		row(asked, half)
	}
	section("nobody goes to the canary at 0, everybody at 1")
	row("0", share{0, true})
	row("0.9999999999999999", share{1, true})
	section("what cannot be read, or is out of range: another assignment, and master whatever the share")
	for _, asked := range []string{
		"1", "1.0", "0.99999999999999999", "-0.1", "-1e-400x", "2", "1e400", "-1", "NaN", "nan", "Inf", "-inf", "0x1p-2", "0X.4P0", "0_1", "1_0e-2", " 0.25", "0.25 ", "0.25\r", "\t", " ", "0,25", "0.25.1", "e", ".", "-", "+", "25%", "canary", "0.25;0", "\x00", "\xff\xfe", "٠.٢٥",
	} {
		row(asked, share{1, true})
	}
	section("no valid share: master; the client keeps its assignment")
	for _, s := range []share{{0, false}, {1, false}, {-0.1, true}, {1.1, true}, {math.NaN(), true}, {math.Inf(1), true}} {
		row("", s)
		row("0.1", s)
	}

	const name = "testdata/answers.txt"
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if out.String() != string(want) {
		t.Errorf("answers differ from %s (-update rewrites it):\n%s", name, out.String())
	}
}

// An assignment is printed as Go's fmt prints the number, which is what the
// original program does, and reads back as the same number.
func FuzzAssignmentRoundTrip(f *testing.F) {
	for _, v := range []float64{0, 0.1, 1e-5, 1e-300, 5e-324, 0.9999999999999999, 1.0 / 3} {
		f.Add(v)
	}
	f.Fuzz(func(t *testing.T, v float64) {
		if !(v >= 0 && v < 1) || math.Signbit(v) {
			return // no assignment
		}
		if got, want := format(v), fmt.Sprint(v); got != want {
			t.Errorf("format(%g) = %s, want %s", v, got, want)
		}
		if back, ok := parse(format(v)); !ok || back != v {
			t.Errorf("%s reads as %v, %v", format(v), back, ok)
		}
	})
}

// Whatever is sent, the answer has an assignment that is one, an arm that is
// one, and a client that holds it gets the same arm again.
func FuzzDecide(f *testing.F) {
	for _, s := range []string{"", "0.25", "1", "NaN", "0x1p-2", "-0", "1e-400", " ", "\n", "1e-99999999999999999999"} {
		f.Add(s, 0.5, true, 0.25)
	}
	f.Fuzz(func(t *testing.T, asked string, ratio float64, ok bool, random float64) {
		if !(random >= 0 && random < 1) {
			random = 0.5
		}
		a := Decide(asked, ratio, ok, random)
		at, readable := parse(a.Assignment)
		if !readable || at < 0 || at >= 1 || strings.ContainsAny(a.Assignment, "\r\n ") {
			t.Fatalf("Decide(%q): assignment %q", asked, a.Assignment)
		}
		if a.Arm != Master && a.Arm != Canary {
			t.Fatalf("Decide(%q): arm %q", asked, a.Arm)
		}
		if a.Arm == Canary && (!ok || !(ratio > 0) || ratio > 1 || a.Asked == Unreadable) {
			t.Fatalf("Decide(%q, %v, %v): canary", asked, ratio, ok)
		}
		again := Decide(a.Assignment, ratio, ok, 0.75)
		if again.Assignment != a.Assignment || a.Asked != Unreadable && again.Arm != a.Arm {
			t.Fatalf("Decide(%q): %+v, then %+v", asked, a, again)
		}
		if ok && ratio >= 0 && ratio < 1 { // monotone
			if more := Decide(a.Assignment, (ratio+1)/2, true, 0); again.Arm == Canary && more.Arm != Canary {
				t.Fatalf("Decide(%q): canary at %v, not at more", asked, ratio)
			}
		}
	})
}
