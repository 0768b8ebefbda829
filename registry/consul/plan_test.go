package consul

import (
	"strings"
	"testing"
	"time"
)

func TestAsks(t *testing.T) {
	now := time.Unix(1000, 0)
	at := func(s int) time.Time { return now.Add(time.Duration(s) * time.Second) }
	type wish struct {
		name string
		due  time.Time
	}
	for _, tt := range []struct {
		name   string
		wishes []wish // a later one of the same name replaces the earlier
		read   string
		again  time.Time
	}{
		{"nothing", nil, "", time.Time{}},
		{"due", []wish{{"a", at(0)}}, "a", time.Time{}},
		{"not due", []wish{{"a", at(3)}}, "", at(3)},
		{"longest due first", []wish{{"a", at(0)}, {"b", at(-1)}, {"c", at(1)}}, "b a", at(1)},
		{"equally due, by name", []wish{{"b", at(0)}, {"a", at(0)}}, "a b", time.Time{}},
		{"put off", []wish{{"a", at(0)}, {"b", at(0)}, {"a", at(9)}}, "b", at(9)},
		{"brought forward", []wish{{"a", at(9)}, {"b", at(0)}, {"a", at(-1)}}, "a b", time.Time{}},
		{"withdrawn", []wish{{"a", at(0)}, {"b", at(0)}, {"a", time.Time{}}, {"b", time.Time{}}, {"c", time.Time{}}}, "", time.Time{}},
		{"withdrawn and wished again", []wish{{"a", at(0)}, {"a", time.Time{}}, {"a", at(2)}}, "", at(2)},
	} {
		var asks asks
		all := map[string]*follow{}
		for _, w := range tt.wishes {
			if all[w.name] == nil {
				all[w.name] = &follow{name: w.name, at: -1}
			}
			asks.set(all[w.name], w.due)
		}
		var read []string
		var again time.Time
		for {
			var f *follow
			if f, again = asks.next(now); f == nil {
				break
			}
			read = append(read, f.name)
			if !f.ask.IsZero() || f.at != -1 {
				t.Errorf("%s: %s was read and is still to be", tt.name, f.name)
			}
		}
		if got := strings.Join(read, " "); got != tt.read || !again.Equal(tt.again) {
			t.Errorf("%s: %q, %v; want %q, %v", tt.name, got, again, tt.read, tt.again)
		}
	}
}

func TestEarlier(t *testing.T) {
	never, one, two := time.Time{}, time.Unix(1, 0), time.Unix(2, 0)
	for _, tt := range [][3]time.Time{{never, never, never}, {never, one, one}, {one, never, one}, {one, two, one}, {two, one, one}} {
		if got := earlier(tt[0], tt[1]); !got.Equal(tt[2]) {
			t.Errorf("earlier(%v, %v) = %v", tt[0], tt[1], got)
		}
	}
}
