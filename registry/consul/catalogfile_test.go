package consul

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"serin/registry"
)

const (
	webEntry = `{"Node": {"Node": "n1", "Address": "10.0.0.1", "Datacenter": "dc1"},
  "Service": {"ID": "web-1", "Service": "web", "Tags": ["urlprefix-/"], "Address": "", "Port": 80, "Weights": {"Passing": 3, "Warning": 1}},
  "Checks": [{"Node": "n1", "CheckID": "service:web-1", "Status": "passing", "ServiceID": "web-1"}]}`
	apiEntry = `{"Node": {"Node": "n1"}, "Service": {"Service": "api", "Address": "10.0.0.2", "Port": 81}, "Checks": [{"CheckID": "c", "ServiceID": "api", "Status": "warning"}]}`
)

func TestReadCatalog(t *testing.T) {
	const both = "api api n1 10.0.0.2:81 warning false 1, web web-1 n1 10.0.0.1:80 passing true 3"
	f := func(text, want string) {
		t.Helper()
		s, err := ReadCatalog(strings.NewReader(text), registry.Policy{})
		var got []string
		for svc := range s.All() {
			for _, in := range svc.Instances {
				got = append(got, fmt.Sprint(svc.Name, " ", in.ID, " ", in.Node, " ", in.Addr, " ", in.Health, " ", in.Ready, " ", in.Weight))
			}
		}
		if err != nil {
			got = []string{err.Error()}
		}
		if have := strings.Join(got, ", "); have != want {
			t.Errorf("%s\n got %s\nwant %s", text, have, want)
		}
	}
	// the forms
	f("["+webEntry+", "+apiEntry+"]", both)
	f("[["+webEntry+"], [], ["+apiEntry+"]]", both)
	f(`{"web": [`+webEntry+`], "api": [`+apiEntry+"]}", both)
	f(" []\n", "")
	f("{}", "")
	// what is no target
	f(`[{"Node": {"Node": "n1"}, "Service": {"Kind": "connect-proxy", "ID": "p", "Service": "web-proxy", "Address": "10.0.0.2", "Port": 81}}]`, "")

	// mistakes, with their places
	f("", "1:1: the catalog is empty: write [] where there is no service")
	f("\n[\n  {\"Node\" 1}]", "3:11: not JSON: invalid character '1' after object key")
	f("[", "1:1: not JSON: unexpected end of JSON input")
	f("[] []", "1:4: not JSON: invalid character '[' after top-level value")
	f(" 7", "1:2: want a list of instances, as /v1/health/service/NAME answers it")
	f("[\n 7]", "2:2: want an instance, not number")
	f(`{"web": {}}`, `1:9: service "web": want the list of its instances; without names, put the instances in one array`)
	f("[{}]", `1:2: the instance has no "Node" or no "Service": want elements of what /v1/health/service/NAME answers`)
	f("[null]", `1:2: the instance has no "Node" or no "Service": want elements of what /v1/health/service/NAME answers`)
	f(`[{"Node": {"Node": "n1"}, "Service": {"ID": "x"}}]`, `1:2: the instance has no "Service": {"Service": NAME}`)
	f(`[{"Node": {}, "Service": {"Service": "x"}}]`, `1:2: the instance of service "x" has no "Node": {"Node": NAME}`)
	f("["+webEntry+",\n"+webEntry+"]", `4:1: instance "web-1" of node "n1" is there twice, first in line 1: instances of a node differ in their "ID"`)
	f(`{"api": [`+webEntry+"]}", `1:10: an instance of service "web" stands among those of "api"`)
	f(`[{"Node": {"Node": "n1"}, "Service": {"Service": "x"}, "Checks": [null]}]`, "1:2: check 0 of the instance is null")
	f(`[{"Node": {"Node": "n1"}, "Service": {"Service": "x", "Port": "80"}}]`, "1:66: Service.Port: want int, not string")
}

// The policy is the operator's, as with a living Consul.
func TestReadCatalogJudgesUnderThePolicy(t *testing.T) {
	s, err := ReadCatalog(strings.NewReader("["+apiEntry+"]"), registry.Policy{Status: []registry.Health{registry.Warning}})
	if err != nil || !s.Service("api").Instances[0].Ready {
		t.Errorf("%+v, %v", s.Service("api"), err)
	}
}

type broken struct{}

var errBroken = errors.New("disk on fire")

func (broken) Read([]byte) (int, error) { return 0, errBroken }

func TestReadCatalogTellsWhyItCannotRead(t *testing.T) {
	if s, err := ReadCatalog(broken{}, registry.Policy{}); !errors.Is(err, errBroken) || s != nil {
		t.Errorf("%v, %v", s, err)
	}
}

func FuzzReadCatalog(f *testing.F) {
	f.Add("[" + webEntry + "]")
	f.Add("[[" + webEntry + "]]")
	f.Add(`{"web": [` + webEntry + "]}")
	f.Add(`{"a": [[{}]]}`)
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ReadCatalog(strings.NewReader(text), registry.Policy{})
		if (s == nil) == (err == nil) {
			t.Fatalf("a catalog and an error, or neither: %v, %v", s, err)
		}
		seen := map[string]bool{}
		for svc := range s.All() {
			if svc.Name == "" || seen[svc.Name] {
				t.Errorf("service %q has no name, or is there twice", svc.Name)
			}
			seen[svc.Name] = true
			for _, in := range svc.Instances {
				if in.ID == "" || in.Node == "" || in.Service != svc.Name {
					t.Errorf("instance %+v of %s", in, svc.Name)
				}
			}
		}
	})
}
