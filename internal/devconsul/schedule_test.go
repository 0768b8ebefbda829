package devconsul

import (
	"context"
	"encoding/json"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// bubble runs f with a running server and a clock of its own.
func bubble(t *testing.T, f func(s *Server)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := New()
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { s.Run(ctx) })
		f(s)
		cancel()
		wg.Wait()
	})
}

func statusOf(s *Server, id string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.checks[id]; c != nil {
		return c.Status + " " + c.Output
	}
	return "gone"
}

func TestTTLExpiresAndServiceIsRemoved(t *testing.T) {
	bubble(t, func(s *Server) {
		mustPut(t, s, "/v1/agent/service/register", `{"Name":"web","ID":"w","Port":1,"Check":{"TTL":"10s","DeregisterCriticalServiceAfter":"60s"}}`)
		at := func(d time.Duration, want string) {
			t.Helper()
			time.Sleep(d)
			synctest.Wait()
			if got := statusOf(s, "service:w"); got != want {
				t.Errorf("%v later: %q, want %q", d, got, want)
			}
		}
		at(30*time.Second, "critical TTL expired")
		mustPut(t, s, "/v1/agent/check/pass/service:w?note=hello", "")
		at(9*time.Second, "passing hello")
		at(2*time.Second, "critical TTL expired (last output before timeout follows): hello")
		at(58*time.Second, "critical TTL expired (last output before timeout follows): hello")
		at(2*time.Second, "gone")
		if _, body := ask(s, "GET", "/v1/agent/services", ""); strings.TrimSpace(body) != "{}" {
			t.Errorf("services: %s, want none", body)
		}
	})
}

func TestSessionExpires(t *testing.T) {
	bubble(t, func(s *Server) {
		var v struct{ ID string }
		if err := json.Unmarshal([]byte(mustPut(t, s, "/v1/session/create", `{"TTL":"10s","LockDelay":"5s"}`)), &v); err != nil {
			t.Fatal(err)
		}
		mustPut(t, s, "/v1/kv/lock?acquire="+v.ID, "me")
		time.Sleep(19 * time.Second)
		mustPut(t, s, "/v1/session/renew/"+v.ID, "")
		time.Sleep(19 * time.Second)
		synctest.Wait()
		if status, _ := ask(s, "PUT", "/v1/session/renew/"+v.ID, ""); status != 200 {
			t.Fatalf("renewed in time, but %d", status)
		}
		time.Sleep(21 * time.Second)
		synctest.Wait()
		if status, _ := ask(s, "PUT", "/v1/session/renew/"+v.ID, ""); status != 404 {
			t.Errorf("renewal of an expired session: %d, want 404", status)
		}
		if _, body := ask(s, "GET", "/v1/kv/lock", ""); strings.Contains(body, "Session") {
			t.Errorf("lock still held: %s", body)
		}
		other := mustPut(t, s, "/v1/session/create", "")
		json.Unmarshal([]byte(other), &v)
		if got := mustPut(t, s, "/v1/kv/lock?acquire="+v.ID, "you"); strings.TrimSpace(got) != "false" {
			t.Errorf("acquired within the lock delay: %s", got)
		}
		time.Sleep(5 * time.Second)
		if got := mustPut(t, s, "/v1/kv/lock?acquire="+v.ID, "you"); strings.TrimSpace(got) != "true" {
			t.Errorf("after the lock delay: %s, want true", got)
		}
	})
}

func TestSessionEndsWithItsCheck(t *testing.T) {
	bubble(t, func(s *Server) {
		mustPut(t, s, "/v1/agent/service/register", `{"Name":"web","ID":"w","Port":1,"Check":{"TTL":"10s","Status":"passing"}}`)
		var v struct{ ID string }
		if err := json.Unmarshal([]byte(mustPut(t, s, "/v1/session/create", `{"ServiceChecks":[{"ID":"service:w"}]}`)), &v); err != nil {
			t.Fatal(err)
		}
		time.Sleep(11 * time.Second)
		synctest.Wait()
		if status, _ := ask(s, "PUT", "/v1/session/renew/"+v.ID, ""); status != 404 {
			t.Errorf("session outlived its check: %d, want 404", status)
		}
		if status, body := ask(s, "PUT", "/v1/session/create", `{"ServiceChecks":[{"ID":"service:w"}]}`); status != 500 || !strings.Contains(body, "critical state") {
			t.Errorf("session on a critical check: %d %s, want 500", status, body)
		}
	})
}

func TestDeletedKeysAreForgotten(t *testing.T) {
	bubble(t, func(s *Server) {
		mustPut(t, s, "/v1/kv/a", "1")
		ask(s, "DELETE", "/v1/kv/a", "")
		s.mu.Lock()
		if len(s.graves) != 1 {
			t.Errorf("%d graves, want 1", len(s.graves))
		}
		s.mu.Unlock()
		time.Sleep(graveTime + time.Second)
		synctest.Wait()
		s.mu.Lock()
		defer s.mu.Unlock()
		if len(s.graves) != 0 {
			t.Errorf("%d graves after %v, want none", len(s.graves), graveTime)
		}
	})
}

func TestSettle(t *testing.T) {
	for _, f := range []struct {
		def          checkDef
		probes, want string // P, W, C; status after each
	}{
		{checkDef{}, "PCPW", "PCPW"},
		{checkDef{FailuresBeforeCritical: 2}, "PCCCP", "PPPCP"},
		{checkDef{FailuresBeforeCritical: 2, FailuresBeforeWarning: 1}, "PCCCP", "PPWCP"},
		{checkDef{SuccessBeforePassing: 1}, "PPCPP", "CPCCP"},
	} {
		letters := map[byte]string{'P': passing, 'W': warning, 'C': critical}
		c := &check{def: f.def, healthCheck: healthCheck{Status: critical}}
		got := ""
		for i := range len(f.probes) {
			c.Status = c.settle(letters[f.probes[i]])
			got += strings.ToUpper(c.Status[:1])
		}
		if got != f.want {
			t.Errorf("%+v: %s settles as %s, want %s", f.def, f.probes, got, f.want)
		}
	}
}

func FuzzParseFilter(f *testing.F) {
	for _, s := range []string{"", `ID == "a"`, `ID == "a" or Service == "b\"c"`, `ID != "a"`, `ID == `, `or or`, `ID=="a"or ID=="b"`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		wanted, err := parseFilter(s)
		if (wanted == nil) == (err == nil) {
			t.Fatalf("%q: %v", s, err)
		}
		if wanted != nil {
			wanted(&service{})
		}
	})
}

// FuzzRegister: whatever is registered, the views are whole JSON and Consul's
// promise holds that the index never goes back.
func FuzzRegister(f *testing.F) {
	for _, s := range []string{
		`{"Name":"web"}`, `{"Name":"web","Tags":null,"Checks":[null]}`, `{"Name":"web","Check":{"HTTP":"::","Interval":"1s"}}`,
		`{"ID":"consul","Name":"x"}`, `{"Name":"\u0000","Check":{"TTL":1}}`, `{"Name":"web","Address":"::1","Weights":{"Passing":1}}`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, body string) {
		s := New()
		before := s.index
		status, _ := ask(s, "PUT", "/v1/agent/service/register", body)
		if status == 200 && s.index <= before || s.index < before {
			t.Fatalf("%s: status %d, index %d, was %d", body, status, s.index, before)
		}
		for _, path := range []string{"/v1/agent/services", "/v1/catalog/services", "/v1/health/state/any", "/v1/health/service/web"} {
			if status, text := ask(s, "GET", path, ""); status != 200 || !json.Valid([]byte(text)) {
				t.Fatalf("%s after %s: %d %s", path, body, status, text)
			}
		}
	})
}

func TestAbout(t *testing.T) {
	s := New()
	if status, _ := ask(s, "GET", "/", ""); status != 301 {
		t.Errorf("/: %d, want 301", status)
	}
	if status, body := ask(s, "GET", "/ui/", ""); status != 200 || !strings.Contains(body, "This is not Consul") {
		t.Errorf("/ui/: %d %s", status, body)
	}
	if status, _ := ask(s, "GET", "/favicon.ico", ""); status != 404 {
		t.Errorf("/favicon.ico: %d, want 404", status)
	}
}
