package proxy

import (
	"net/netip"
	"strconv"
	"time"

	"github.com/dchest/siphash"

	"serin/route"
)

// key is what is known of the client that a request comes from.
type key struct {
	found     bool
	position  uint64 // of the client among all, for this service and rollout
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
	if sp.Ratio <= 0 && sp.Sticky.Instance == route.InstanceFree {
		return k // nobody is assigned anything
	}
	for i := range sp.Sticky.By {
		src := &sp.Sticky.By[i]
		var value string
		var buf [64]byte
		switch src.Kind {
		case route.KeyCookie:
			value, _ = r.Cookie(src.Name)
			if value == "" && src.Mint && r.Client().IsValid() {
				value = mint(sp, r, now)
				k.setCookie = setCookie(sp.Sticky.Cookie, value, r.TLS())
			}
		case route.KeyHeader:
			value, _ = r.Header(src.Name)
		case route.KeyIP:
			if b := appendClient(buf[:0], r.Client()); len(b) > 0 {
				k.found, k.position = true, position(sp, src.Kind, b)
				return k
			}
		}
		if value != "" {
			k.found, k.position = true, position(sp, src.Kind, append(buf[:0], value...))
			return k
		}
	}
	return k
}

// appendClient appends a client's address; IPv6 is cut to its /64, which is
// one subscriber.
func appendClient(b []byte, a netip.Addr) []byte {
	if a = a.Unmap(); a.Is6() {
		p, _ := a.WithZone("").Prefix(64)
		return p.Masked().AppendTo(b)
	}
	return a.AppendTo(b)
}

// mint returns the id of a client that has none yet.
func mint(sp *route.Split, r Request, now time.Time) string {
	agent, _ := r.Header("User-Agent")
	b := append([]byte("mint\x00"), r.Client().Unmap().String()...)
	b = append(append(b, 0), agent...)
	b = strconv.AppendInt(append(b, 0), now.Unix()/3600, 10)
	id := sip(sp.Secret, b)
	const hex = "0123456789abcdef"
	var out [16]byte
	for i := range out {
		out[i] = hex[id>>(60-4*i)&15]
	}
	return string(out[:])
}

// setCookie returns the Set-Cookie value for an id.
func setCookie(c route.Cookie, id string, tls bool) string {
	s := c.Name + "=" + id + "; Path=/; HttpOnly"
	if c.SameSite != "" {
		s += "; SameSite=" + c.SameSite
	}
	if c.MaxAge > 0 {
		s += "; Max-Age=" + strconv.Itoa(c.MaxAge)
	}
	if c.Domain != "" {
		s += "; Domain=" + c.Domain
	}
	if tls {
		s += "; Secure"
	}
	return s
}

func sip(secret [2]uint64, b []byte) uint64 { return siphash.Hash(secret[0], secret[1], b) }

func position(sp *route.Split, k route.KeyKind, value []byte) uint64 {
	return sip(sp.Secret, value)
}
