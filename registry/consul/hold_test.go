package consul

import (
	"errors"
	"strings"
	"testing"
	"time"

	"serin/registry"
)

// service makes a service from words such as "a b! c?": b is not ready, and no
// check of c has run.
func service(words string) reading {
	r := reading{svc: &registry.Service{Name: "web"}}
	for w := range strings.FieldsSeq(words) {
		r.svc.Instances = append(r.svc.Instances, registry.Instance{Service: "web", ID: strings.Trim(w, "!?"), Node: "n", Ready: !strings.ContainsAny(w, "!?")})
		if strings.HasSuffix(w, "?") {
			r.fresh = append(r.fresh, place{id: strings.Trim(w, "!?"), node: "n"})
		}
	}
	r.untested = len(r.fresh) > 0 && len(r.fresh) == len(r.svc.Instances)
	return r
}

func TestContradiction(t *testing.T) {
	for _, tt := range []struct {
		known, got string
		want       conflict
	}{
		{"", "", nothing},
		{"", "a", nothing},
		{"a", "a", nothing},
		{"a", "", emptied},
		{"a!", "", emptied},
		{"a", "a!", nothing},
		{"a", "b", nothing}, // moved
		{"a b", "a", shrunk},
		{"a b c", "a b", nothing},
		{"a b c d", "a b", shrunk},
		{"a b c d", "a e f g", nothing},
		{"a b c d", "e", shrunk},
		{"a", "b?", notTested},
		{"a", "b? c!", nothing},
		{"a", "b? c", nothing},
		{"a!", "b?", nothing},
		{"a b", "a?", notTested},
		{"a b", "a b?", notTested},
		{"a b", "a! b?", notTested},
		{"a b!", "a b?", nothing},
		{"a b", "a b c?", nothing},
	} {
		if got := contradiction(service(tt.known).svc, service(tt.got)); got != tt.want {
			t.Errorf("%q, then %q: %d, want %d", tt.known, tt.got, got, tt.want)
		}
	}
	hidden := service("a b c d")
	hidden.acl = true
	if got := contradiction(service("a b c d e").svc, hidden); got != shrunk {
		t.Errorf("one of five is gone, with ACLs: %d", got)
	}
	if got := contradiction(nil, service("")); got != nothing {
		t.Errorf("nothing known: %d", got)
	}
}

func TestVerdict(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	for _, tt := range []struct {
		name, known, got string
		e                evidence
		why              string // part of it; empty means obeyed
	}{
		{"deregistered, we are visible", "a b", "", evidence{sight: ourselves, index: 9, had: 5, got: reading{acl: true}}, ""},
		{"the same without ACLs and with an odd index", "a b", "", evidence{sight: ourselves, index: 5, had: 5}, ""},
		{"no answer", "a", "", evidence{err: errors.New("timed out"), sight: ourselves}, "timed out"},
		{"filtered", "a", "", evidence{filtered: true, got: reading{acl: true}, sight: ourselves, index: 9, had: 5}, "service:read"},
		{"filtered in part", "a b", "a", evidence{filtered: true, got: reading{acl: true}, index: 9, had: 5}, "service:read"},
		{"hidden from the anonymous token", "a", "", evidence{got: reading{acl: true}, sight: ourselves, index: 5, had: 5}, "permission"},
		{"hidden in part", "a b", "a", evidence{got: reading{acl: true}, index: 5, had: 5}, "permission"},
		{"from disk, we are visible", "a", "", evidence{got: reading{acl: true}, sight: ourselves, index: 5}, ""},
		{"we are missing", "a", "", evidence{sight: missing, index: 9, had: 5}, "our own registration"},
		{"half left, we are missing", "a b", "a", evidence{sight: missing, index: 9, had: 5}, ""},
		{"we had to register again", "a", "", evidence{sight: ourselves, seen: ago(time.Hour), lost: ago(time.Minute)}, "lost its state"},
		{"… 10 minutes ago", "a", "", evidence{sight: ourselves, seen: ago(time.Hour), lost: ago(10 * time.Minute)}, ""},
		{"… and it had come back", "a", "", evidence{sight: ourselves, seen: ago(30 * time.Second), lost: ago(time.Minute)}, ""},
		{"… and it was from disk", "a", "", evidence{sight: ourselves, lost: ago(time.Minute)}, "lost its state"},
		{"servers lost their state, our agent did not", "a", "", evidence{sight: ourselves, index: 4, had: 5}, "went back"},
		{"… 10 minutes ago", "a", "", evidence{sight: ourselves, index: 4, had: 5, since: ago(10 * time.Minute)}, ""},
		{"came back after the loss", "a b c", "a", evidence{sight: missing, seen: ago(time.Hour), lost: ago(time.Minute)}, ""},
		{"came back unhealthy", "a b", "a!", evidence{lost: ago(time.Minute)}, ""},
		{"came back, not checked yet", "a b", "c?", evidence{since: ago(29 * time.Second)}, "not been checked"},
		{"… for 30 s", "a b", "c?", evidence{since: ago(30 * time.Second)}, ""},
		{"no registration, same servers", "a", "", evidence{sight: serversSeen, index: 9, had: 5}, ""},
		{"… index went back", "a", "", evidence{sight: serversSeen, index: 4, had: 5}, "index"},
		{"… from disk", "a", "", evidence{sight: serversSeen, index: 4}, ""},
		{"no registration, other servers", "a", "", evidence{sight: missing, index: 9, had: 5}, "servers"},
		{"nothing to go by but the index", "a", "", evidence{index: 9, had: 5}, ""},
		{"nothing to go by", "a", "", evidence{index: 9}, "index"},
		{"… for 10 minutes", "a", "", evidence{index: 9, since: ago(10 * time.Minute)}, ""},
		{"no contradiction at all", "a", "a!", evidence{filtered: true}, ""},
	} {
		e := tt.e
		acl := e.got.acl
		e.known, e.got, e.now, e.max = service(tt.known).svc, service(tt.got), now, 10*time.Minute
		e.got.acl = acl
		if e.since.IsZero() {
			e.since = now
		}
		obey, why := verdict(e)
		if obey != (tt.why == "") || !strings.Contains(why, tt.why) {
			t.Errorf("%s: obey %v, %q; want %q", tt.name, obey, why, tt.why)
		}
	}
}

func TestRetryIn(t *testing.T) {
	for _, tt := range []struct {
		tries, services int
		want            time.Duration
	}{
		{1, 1, 250 * time.Millisecond},
		{2, 1, 500 * time.Millisecond},
		{4, 1, 2 * time.Second},
		{100, 1, 2 * time.Second},
		{1, 160, 10 * time.Second},
	} {
		if got := retryIn(tt.tries, tt.services); got != tt.want {
			t.Errorf("try %d of %d services: %v, want %v", tt.tries, tt.services, got, tt.want)
		}
	}
}

func TestVanished(t *testing.T) {
	for _, tt := range []struct {
		had, index uint64
		reborn     bool
		ago        time.Duration
		lost       bool
	}{
		{5, 9, false, 0, false},
		{5, 5, false, 0, true},
		{5, 4, false, 0, true},
		{5, 9, true, 0, true},
		{5, 4, true, 10 * time.Minute, false},
	} {
		err := vanished("k", tt.had, tt.index, tt.reborn, tt.ago)
		if errors.Is(err, ErrStateLost) != tt.lost {
			t.Errorf("%+v: %v", tt, err)
		}
	}
}
