package registry

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func named(names ...string) (out []*Service) {
	for _, n := range names {
		out = append(out, &Service{Name: n, Instances: []Instance{{Service: n, ID: "b"}, {Service: n, ID: "a"}}})
	}
	return out
}

func words(s *Snapshot) string {
	var out []string
	for svc := range s.All() {
		out = append(out, svc.Name)
	}
	return strings.Join(out, " ")
}

func TestNilSnapshotIsEmpty(t *testing.T) {
	var s *Snapshot
	if s.Len() != 0 || s.Instances() != 0 || s.Service("a") != nil || words(s) != "" || s.Without("a") != s {
		t.Error("nil is not an empty Snapshot")
	}
	if got := s.With(named("a")[0]); words(got) != "a" {
		t.Errorf("with a: %q", words(got))
	}
	b, err := json.Marshal(s)
	if err != nil || string(b) != "null" {
		t.Errorf("%s, %v", b, err)
	}
	if b, err = json.Marshal(New()); err != nil || string(b) != `{"services":[]}` {
		t.Errorf("%s, %v", b, err)
	}
}

// A Snapshot behaves as a map that is copied at every change.
func TestSnapshotIsAValue(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, model := New(), map[string]*Service{}
		for range rapid.IntRange(0, 30).Draw(t, "changes") {
			name := rapid.StringMatching("[a-e]{1,2}").Draw(t, "name")
			before, old := words(s), s
			if rapid.Bool().Draw(t, "add") {
				svc := named(name)[0]
				s, model[name] = s.With(svc), svc
			} else {
				s = s.Without(name)
				delete(model, name)
			}
			if words(old) != before {
				t.Fatalf("a published Snapshot changed from %q to %q", before, words(old))
			}
		}
		var sorted []string
		for name, svc := range model {
			sorted = append(sorted, name)
			if s.Service(name) != svc {
				t.Fatalf("%s is another service", name)
			}
		}
		slices.Sort(sorted)
		if words(s) != strings.Join(sorted, " ") || s.Len() != len(model) || s.Instances() != 2*len(model) {
			t.Fatalf("%q, want %q", words(s), sorted)
		}
	})
}

func FuzzSnapshotJSON(f *testing.F) {
	for _, seed := range []string{
		`{"services":[{"name":"web","instances":[{"service":"web","id":"a","health":"passing"}],"read_at":"2026-01-02T03:04:05Z"}]}`,
		`{"services":[{"name":"b"},{"name":"a","instances":[{"id":"z"},{"id":"y"}]}]}`,
		`{"services":[null]}`, `{"services":[{}]}`, `{"services":[{"name":"a"},{"name":"a"}]}`, `null`, `[]`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var s Snapshot
		if json.Unmarshal(b, &s) != nil {
			return
		}
		last := ""
		for svc := range s.All() {
			if svc.Name <= last {
				t.Fatalf("%q after %q", svc.Name, last)
			}
			last = svc.Name
			if !slices.IsSortedFunc(svc.Instances, func(a, b Instance) int { return strings.Compare(a.ID, b.ID) }) {
				t.Fatalf("instances of %q are not ordered", svc.Name)
			}
		}
		out, err := json.Marshal(&s)
		var again Snapshot
		if err != nil || json.Unmarshal(out, &again) != nil || words(&again) != words(&s) {
			t.Fatalf("does not come back: %s, %v", out, err)
		}
	})
}

func TestChanged(t *testing.T) {
	a, b, c, d := &Service{Name: "a"}, &Service{Name: "b"}, &Service{Name: "c"}, &Service{Name: "d"}
	base := New(a, b, c)
	for _, tc := range []struct {
		what     string
		old, new *Snapshot
		want     string
	}{
		{"nothing", base, base, ""},
		{"nil", nil, nil, ""},
		{"first", nil, New(a, b), "+a +b"},
		{"last", New(a, b), nil, "-a -b"},
		{"changed", base, base.With(&Service{Name: "b"}), "~b"},
		{"come and gone", base, base.Without("a").With(d), "-a +d"},
		{"in the middle", New(a, d), New(b, c), "-a +b +c -d"},
	} {
		var got []string
		for was, is := range Changed(tc.old, tc.new) {
			switch {
			case was == nil:
				got = append(got, "+"+is.Name)
			case is == nil:
				got = append(got, "-"+was.Name)
			default:
				got = append(got, "~"+is.Name)
			}
		}
		if s := strings.Join(got, " "); s != tc.want {
			t.Errorf("%s: %q, want %q", tc.what, s, tc.want)
		}
	}
}
