package devconsul

import (
	"errors"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// entry is one key as Consul shows it. It is replaced, never written.
type entry struct {
	LockIndex   uint64
	Key         string
	Flags       uint64
	Value       []byte
	Session     string `json:",omitempty"`
	CreateIndex uint64
	ModifyIndex uint64
}

// grave remembers the index at which a key was deleted, so that the index of
// its prefix rises although the key is gone.
type grave struct {
	index uint64
	dug   time.Time
}

func (c *call) kv() {
	q := c.r.URL.Query()
	switch {
	case c.r.Method == http.MethodGet && q.Has("keys"):
		c.kvKeys(q.Get("separator"))
	case c.r.Method == http.MethodGet && q.Has("recurse"):
		c.kvList()
	case c.id == "" && !(c.r.Method == http.MethodDelete && q.Has("recurse")):
		c.fail(http.StatusBadRequest, "Missing key name")
	case c.r.Method == http.MethodGet:
		c.kvGet(q.Has("raw"))
	default:
		for _, pair := range [][2]string{{"acquire", "release"}, {"acquire", "cas"}, {"release", "cas"}, {"cas", "recurse"}} {
			if q.Has(pair[0]) && q.Has(pair[1]) {
				c.fail(http.StatusBadRequest, "Conflicting flags: %s", url.Values{pair[0]: q[pair[0]], pair[1]: q[pair[1]]}.Encode())
				return
			}
		}
		if c.r.Method == http.MethodPut {
			c.kvPut(q)
		} else {
			c.kvDelete(q)
		}
	}
}

// kvMax is the index of what is not there: of any key.
func (st *state) kvMax() uint64 { return st.tables[tableKV] }

func (c *call) kvGet(raw bool) {
	c.query(func(st *state) answer {
		e := st.keys[c.id]
		switch {
		case e == nil:
			return answer{index: max(st.kvMax(), 1), missing: true, quiet: true}
		case raw:
			return answer{index: e.ModifyIndex, raw: e.Value, rawType: "text/plain"}
		}
		return answer{index: e.ModifyIndex, body: []*entry{e}}
	})
}

// under returns the keys that begin with prefix, in order, and the index of the last
// change among them and those that were deleted.
func (st *state) under(prefix string) (found []*entry, index uint64) {
	for _, k := range slices.Sorted(maps.Keys(st.keys)) {
		if strings.HasPrefix(k, prefix) {
			found = append(found, st.keys[k])
			index = max(index, st.keys[k].ModifyIndex)
		}
	}
	for k, g := range st.graves {
		if strings.HasPrefix(k, prefix) {
			index = max(index, g.index)
		}
	}
	if index == 0 {
		index = max(st.kvMax(), 1)
	}
	return found, index
}

func (c *call) kvList() {
	c.query(func(st *state) answer {
		found, index := st.under(c.id)
		if found == nil {
			index = max(st.kvMax(), 1)
		}
		return answer{index: index, body: found, missing: found == nil}
	})
}

func (c *call) kvKeys(separator string) {
	c.query(func(st *state) answer {
		found, index := st.under(c.id)
		keys := []string{}
		for _, e := range found {
			k := e.Key
			if head, _, cut := strings.Cut(k[len(c.id):], separator); cut && separator != "" {
				k = c.id + head + separator
			}
			if len(keys) == 0 || keys[len(keys)-1] != k {
				keys = append(keys, k)
			}
		}
		return answer{index: index, body: keys, missing: len(keys) == 0 && c.id != ""}
	})
}

// number reads a parameter as Consul does, whose error is a 500.
func (c *call) number(q url.Values, name string) (n uint64, ok bool) {
	if !q.Has(name) {
		return 0, true
	}
	n, err := strconv.ParseUint(q.Get(name), 10, 64)
	if err != nil {
		c.fail(http.StatusInternalServerError, "%v", err)
	}
	return n, err == nil
}

func (c *call) kvPut(q url.Values) {
	flags, ok1 := c.number(q, "flags")
	if !ok1 {
		return
	}
	cas, ok2 := c.number(q, "cas")
	if !ok2 {
		return
	}
	value, err := io.ReadAll(http.MaxBytesReader(c.w, c.r.Body, maxBody))
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		c.fail(http.StatusRequestEntityTooLarge, "Request body(%d bytes) too large, max size: %d bytes. See https://www.consul.io/docs/agent/options.html#kv_max_value_size.", c.r.ContentLength, maxBody)
		return
	} else if err != nil {
		c.fail(http.StatusInternalServerError, "%v", err)
		return
	}
	if len(value) == 0 {
		value = nil // shown as null
	}

	s := c.s
	s.mu.Lock()
	old := s.keys[c.id]
	e := &entry{Key: c.id, Flags: flags, Value: value}
	if old != nil {
		e.LockIndex, e.Session = old.LockIndex, old.Session
	}
	done, reason := true, ""
	switch {
	case q.Has("cas"):
		done = old == nil && cas == 0 || old != nil && cas == old.ModifyIndex
	case q.Has("acquire"):
		id := q.Get("acquire")
		switch {
		case s.sessions[id] == nil:
			reason = `raft apply failed: invalid session "` + id + `"`
		case s.delays[c.id].After(time.Now()), e.Session != "" && e.Session != id:
			done = false
		case e.Session == "":
			e.Session = id
			e.LockIndex++
		}
	case q.Has("release"):
		done = e.Session != "" && e.Session == q.Get("release")
		e.Session = ""
	}
	if done && reason == "" {
		s.setKey(old, e)
		s.broadcast()
	}
	s.mu.Unlock()
	if reason != "" {
		c.fail(http.StatusInternalServerError, "%s", reason)
		return
	}
	c.json(done)
}

// setKey writes a key, unless nothing would change.
func (st *state) setKey(old, e *entry) {
	if old != nil && old.Flags == e.Flags && old.Session == e.Session && old.LockIndex == e.LockIndex && string(old.Value) == string(e.Value) {
		return
	}
	e.ModifyIndex = st.touch(tableKV)
	e.CreateIndex = e.ModifyIndex
	if old != nil {
		e.CreateIndex = old.CreateIndex
	}
	st.keys[e.Key] = e
	delete(st.graves, e.Key)
}

func (c *call) kvDelete(q url.Values) {
	cas, ok := c.number(q, "cas")
	if !ok {
		return
	}
	s := c.s
	s.mu.Lock()
	done := true
	switch old := s.keys[c.id]; {
	case q.Has("recurse"):
		found, _ := s.under(c.id)
		s.deleteKeys(found)
	case q.Has("cas") && (cas == 0 || old != nil && old.ModifyIndex != cas):
		done = false
	case old != nil:
		s.deleteKeys([]*entry{old})
	}
	s.broadcast()
	s.mu.Unlock()
	c.json(done)
}

// deleteKeys removes keys in one change.
func (st *state) deleteKeys(keys []*entry) {
	if len(keys) == 0 {
		return
	}
	index, now := st.touch(tableKV), time.Now()
	for _, e := range keys {
		delete(st.keys, e.Key)
		st.graves[e.Key] = grave{index, now}
	}
}
