package route

import (
	"encoding/csv"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"
)

// TestAssignmentGolden holds the arms of all balancers and versions together:
// of a service, a rollout's id, and a client's key, its position and its arm at
// growing ratios. The position is computed here from the words of CANARY.md,
// without the code that is tested.
func TestAssignmentGolden(t *testing.T) {
	const file = "testdata/assignments.csv"
	ratios := []float64{0, 0.01, 0.1, 0.25, 0.5, 0.75, 0.99, 1}
	header := []string{"secret0", "secret1", "service", "id", "kind", "value", "u"}
	for _, r := range ratios {
		header = append(header, strconv.FormatFloat(r, 'g', -1, 64))
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(strings.NewReader(string(b))).ReadAll()
	if err != nil || len(rows) < 30 || strings.Join(rows[0], ",") != strings.Join(header, ",") {
		t.Fatal(len(rows), err)
	}
	for i, row := range rows[1:] {
		k0, _ := strconv.ParseUint(row[0], 16, 64)
		k1, _ := strconv.ParseUint(row[1], 16, 64)
		s := &Split{Secret: [2]uint64{k0, k1}, Service: row[2], ID: row[3]}
		kind, value := row[4], row[5]
		var u uint64
		hashed := value
		switch kind {
		case "ip":
			a := netip.MustParseAddr(value)
			u = s.PositionAddr(a)
			if hashed = a.Unmap().WithZone("").String(); strings.Contains(hashed, ":") {
				hashed = netip.PrefixFrom(netip.MustParseAddr(hashed), 64).Masked().Addr().String()
			}
		case "header":
			u = s.Position(KeyHeader, value)
		case "cookie":
			u = s.Position(KeyCookie, value)
		default:
			t.Fatalf("%s:%d: kind %q", file, i+2, kind)
		}
		if want := sip24(k0, k1, []byte(strings.Join([]string{"arm", row[2], row[3], kind, hashed}, "\x00"))); u != want {
			t.Errorf("%s:%d: position %016x, and by the words %016x", file, i+2, u, want)
		}
		row[6] = fmt.Sprintf("%016x", u)
		for n, ratio := range ratios {
			s.Ratio = ratio
			arm := s.Arm(u).String()
			if below := float64(u) < ratio*(1<<64); below != (arm == "canary") {
				t.Errorf("%s:%d: at %v it is %s", file, i+2, ratio, arm)
			}
			row[7+n] = arm
		}
	}
	var out strings.Builder
	w := csv.NewWriter(&out)
	if err := w.WriteAll(rows); err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(file, []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if out.String() != string(b) {
		got, want := strings.Split(out.String(), "\n"), strings.Split(string(b), "\n")
		for i := range got {
			if i >= len(want) || got[i] != want[i] {
				t.Errorf("%s:%d: an assignment has changed\n got %s\nwant %s", file, i+1, got[i], want[min(i, len(want)-1)])
			}
		}
	}
}
