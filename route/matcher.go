package route

import "net/netip"

// Matcher is how the path of a route is compared with that of a request
// (Fabio's proxy.matcher).
type Matcher uint8

const (
	PrefixMatcher  Matcher = iota // byte by byte
	IPrefixMatcher                // without regard to case
	GlobMatcher                   // the whole path is matched by a glob; "*" crosses slashes
)

// Addresses is a set of networks, each with or without a port.
type Addresses []AddressRange

// AddressRange is a network, or one host and port in it.
type AddressRange struct {
	Network netip.Prefix
	Port    uint16 // 0 is any
}
