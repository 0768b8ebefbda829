package route

import "net/netip"

// Access says which clients a route lets in. The zero value lets nobody in
// (an allow list without an element): what allow= or deny= could not be read is
// that, so that a mistake never opens a route.
type Access struct {
	Deny     bool // Networks are those kept out; otherwise those let in
	Networks []netip.Prefix
}

// Permits reports whether a client is let in that came over the given chain of
// believed addresses: the peer's, those of the trusted proxies, the client's.
// As in Fabio each of them must be allowed, and none denied. An empty chain is
// not let in.
func (a *Access) Permits(chain []netip.Addr) bool {
	if a == nil {
		return true
	}
	for _, addr := range chain {
		if a.contains(addr) == a.Deny {
			return false
		}
	}
	return len(chain) > 0
}

func (a *Access) contains(addr netip.Addr) bool {
	addr = addr.Unmap().WithZone("")
	for _, p := range a.Networks {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}
