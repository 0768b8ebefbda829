package proxy

import (
	"strconv"
	"time"

	"serin/route"
)

// key is what is known of the client that a request comes from.
type key struct {
	found     bool
	position  uint64 // of the client among all, for this service and rollout
	instance  uint64 // the same, independent of it, where keepsInstance asks for it
	setCookie string // where an id was minted
	strip     string // the balancer's own cookie
}

// stickyKey looks for the client's key in the split's sources; the first that
// the request has wins, and one that is empty it has not. Where the balancer's
// own cookie is missing an id is minted: derived from the client's address,
// user agent and the hour, so that parallel first requests get the same.
func stickyKey(sp *route.Split, r Request, now time.Time) (k key) {
	for i := range sp.Sticky.By {
		if src := &sp.Sticky.By[i]; src.Mint {
			k.strip = src.Name
		}
	}
	instance := keepsInstance(sp)
	if sp.Ratio <= 0 && !instance {
		return k // nobody is assigned anything
	}
	for i := range sp.Sticky.By {
		src := &sp.Sticky.By[i]
		var value string
		switch src.Kind {
		case route.KeyCookie:
			value, _ = r.Cookie(src.Name)
			if value == "" && src.Mint && r.Client().IsValid() {
				value = mint(sp, r, now)
				k.setCookie = setCookie(src.Name, sp.Sticky.Cookie, value, r.Secure())
			}
		case route.KeyHeader:
			value, _ = r.Header(src.Name)
		case route.KeyIP:
			if a := r.Client(); a.IsValid() {
				if k.found, k.position = true, sp.PositionAddr(a); instance {
					k.instance = sp.InstancePositionAddr(a)
				}
				return k
			}
		}
		if value != "" {
			if k.found, k.position = true, sp.Position(src.Kind, value); instance {
				k.instance = sp.InstancePosition(src.Kind, value)
			}
			return k
		}
	}
	return k
}

// keepsInstance reports whether a client's key chooses its instance as well.
func keepsInstance(sp *route.Split) bool {
	return sp.Sticky.Instance != route.InstanceFree || sp.HasBalance && sp.Balance == route.HashBalance
}

// mint returns the id of a client that has none yet. It is the same for all
// services, which may share the cookie.
func mint(sp *route.Split, r Request, now time.Time) string {
	agent, _ := r.Header("User-Agent")
	b := append(r.Client().Unmap().AppendTo([]byte("mint\x00")), 0)
	b = strconv.AppendInt(append(append(b, agent...), 0), now.Unix()/3600, 10)
	anyone := route.Split{Secret: sp.Secret}
	return string(appendHex64(nil, anyone.Position(route.KeyCookie, string(b))))
}

func appendHex64(b []byte, v uint64) []byte {
	for shift := 60; shift >= 0; shift -= 4 {
		b = append(b, hexDigits[v>>shift&15])
	}
	return b
}

const hexDigits = "0123456789abcdef"

// setCookie returns the Set-Cookie value for an id; secure is that the client
// came over TLS, be it to a trusted proxy.
func setCookie(name string, c route.Cookie, id string, secure bool) string {
	s := name + "=" + id + "; Path=/; HttpOnly"
	if c.SameSite != "" {
		s += "; SameSite=" + c.SameSite
	}
	if c.MaxAge > 0 {
		s += "; Max-Age=" + strconv.Itoa(c.MaxAge)
	}
	if c.Domain != "" {
		s += "; Domain=" + c.Domain
	}
	if secure {
		s += "; Secure"
	}
	return s
}
