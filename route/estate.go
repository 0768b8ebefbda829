package route

import (
	"slices"
	"strings"
)

// title is what the policy says of one claim.
type title struct {
	kind titleKind
	by   spotKey // guest and refused: the owner's place
}

type titleKind uint8

const (
	owned   titleKind = iota // it owns its place
	guest                    // a rule allows it in another's place
	refused                  // it is not in the table
)

// estates are the places that services own in the mode FirstOwner.
type estates struct {
	hosts map[string]map[string]*estate // by estateHost and key
	globs map[string]*glob              // hosts that are globs, or end with what is no whole label
	// waiting are the services with a claim that an estate keeps out, or has
	// as a guest.
	waiting map[spotKey]map[string]bool
	// vacant are the estates without a claim, which are held for their owners.
	vacant map[spotKey]string
	moved  bool // vacant is not as it was
	low    bool // some estate has a priority below 0

	noGlobs, globPaths bool // see Builder
}

type estate struct {
	service  string
	claims   int // by the service; 0 is held
	priority int // the lowest of its claims
}

func newEstates(noGlobs, globPaths bool) *estates {
	return &estates{
		hosts: map[string]map[string]*estate{}, globs: map[string]*glob{}, waiting: map[spotKey]map[string]bool{},
		vacant: map[spotKey]string{}, noGlobs: noGlobs, globPaths: globPaths,
	}
}

func estateOf(k spotKey) spotKey { return spotKey{estateHost(k.host), k.key} }

func (e *estates) get(k spotKey) *estate { return e.hosts[k.host][k.key] }

func (e *estates) put(k spotKey, service string, claims int) {
	paths := e.hosts[k.host]
	if paths == nil {
		paths = map[string]*estate{}
		e.hosts[k.host] = paths
		if kind := kindOf(k.host, e.noGlobs); kind == globHost || kind == suffixHost && k.host[1] != '.' {
			e.globs[k.host], _ = compileGlob(k.host)
		}
	}
	paths[k.key] = &estate{service: service, claims: claims}
	if claims == 0 {
		e.vacant[k], e.moved = service, true
	}
}

// enter takes note of one claim more of the owner.
func (e *estates) enter(k spotKey, o *estate, c *claim) {
	o.priority = min(o.priority, c.options.Priority)
	e.low = e.low || o.priority < 0
	if o.claims++; o.claims == 1 {
		delete(e.vacant, k)
		e.moved = true
	}
}

// leave takes note of one claim less of the owner.
func (e *estates) leave(k spotKey, o *estate) {
	if o.claims--; o.claims == 0 {
		e.vacant[k], e.moved = o.service, true
	}
}

func (e *estates) drop(k spotKey) {
	paths := e.hosts[k.host]
	delete(e.vacant, k)
	e.moved = true
	if delete(paths, k.key); len(paths) == 0 {
		delete(e.hosts, k.host)
		delete(e.globs, k.host)
	}
}

func (e *estates) wait(k spotKey, service string) {
	if e.waiting[k] == nil {
		e.waiting[k] = map[string]bool{}
	}
	e.waiting[k][service] = true
}

// over returns the place of another service that a claim would take requests
// from: the claim is for the same requests or for some of them or, where it is
// tried first, for more.
func (e *estates) over(service string, c *claim) (found spotKey, ok bool) {
	k := estateOf(c.spotKey)
	try := func(host string) bool {
		paths := e.hosts[host]
		if paths == nil {
			return false
		}
		for n := 1; n <= len(k.key); n++ {
			if o := paths[k.key[:n]]; o != nil && o.service != service {
				found, ok = spotKey{host, k.key[:n]}, true
				return true
			}
		}
		// Where it is tried first, its host being written more exactly or its
		// priority higher, it also takes what the owner's longer paths get.
		if c.host == host && c.options.Priority <= 0 && !e.low && !e.globPaths {
			return false
		}
		for key, o := range paths {
			within := (c.host != host || c.options.Priority > o.priority) && strings.HasPrefix(key, k.key) ||
				e.globPaths && pathsMeet(key, k.key)
			if within && o.service != service && (!ok || key < found.key) {
				found, ok = spotKey{host, key}, true
			}
		}
		return ok
	}
	if try(k.host) {
		return found, true
	}
	if k.host == "" && c.host == "" {
		return found, false
	}
	host, from, kind := k.host, 1, kindOf(k.host, e.noGlobs)
	if k.host == "" { // "*", with a port
		host, kind = c.host, kindOf(c.host, e.noGlobs)
	}
	var own *glob
	if kind != exactHost {
		own, _ = compileGlob(host)
	}
	if kind == globHost { // rare, and costs more
		var held []string
		for other := range e.hosts {
			if other != "" && own.match(other) {
				held = append(held, other)
			}
		}
		slices.Sort(held)
		for _, other := range held {
			if try(other) {
				return found, true
			}
		}
		from = max(1, strings.LastIndexAny(k.host, globChars)+1)
	}
	for i := from; i < len(k.host); i++ {
		if k.host[i] == '.' && try("*"+k.host[i:]) {
			return found, true
		}
	}
	// A pattern need not hold another one to take requests from it: it is enough
	// that one host fits both and finds the newcomer's first.
	var meet []string
	for other, g := range e.globs {
		if k.host != "" && g.match(k.host) || kind != exactHost && compareHosts(host, other, e.noGlobs) < 0 && globsMeet(own, g) {
			meet = append(meet, other)
		}
	}
	slices.Sort(meet)
	for _, host := range meet {
		if try(host) {
			return found, true
		}
	}
	return found, false
}

// pathsMeet reports whether a path may match both globs.
func pathsMeet(a, b string) bool {
	x, _ := compileGlob(a)
	y, _ := compileGlob(b)
	return globsMeet(x, y)
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
