package control

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"serin/registry"
)

// stateVersion is the version of the file this program writes and reads.
const stateVersion = 1

// State is the last good state of the control plane, as it is kept on disk for
// a start without Consul.
type State struct {
	// KnownAt is when the newest part of it was learnt or confirmed.
	KnownAt time.Time
	Catalog *registry.Snapshot
	// Documents are the canary documents by service; "" is the one for all others.
	Documents map[string]Document
	Secret    string // the key of sticky assignment, 32 hex digits; "" is unknown
	// Keys are the other keys of Consul's KV that are followed, such as those of
	// route commands, by the path that is followed.
	Keys map[string][]Document
	// Owners are the services that own places, see route.Table.Owners.
	Owners map[string]string
	// Rollouts are the states of rollouts, by service, as Consul has them.
	Rollouts map[string]json.RawMessage
}

// Document is a key of Consul's KV as it was read.
type Document struct {
	Key   string `json:"key"`
	Value []byte `json:"value"`
	Index uint64 `json:"index"`
}

// Age is how old the state is at now, never negative: a clock that was set back
// makes it young, not impossible.
func (s State) Age(now time.Time) time.Duration { return max(0, now.Sub(s.KnownAt)) }

// stateJSON is the body of the file.
type stateJSON struct {
	KnownAt   time.Time             `json:"known_at"`
	Services  []registry.Service    `json:"services"`
	Documents map[string]Document   `json:"documents"`
	Secret    string                `json:"secret,omitzero"`
	Keys      map[string][]Document `json:"keys,omitzero"`
	Owners    map[string]string     `json:"owners,omitzero"`

	Rollouts map[string]json.RawMessage `json:"rollouts,omitzero"`
}

// wrap makes the file of its body: one JSON object that begins with its version
// and the body's checksum.
func wrap(version int, body []byte) []byte {
	return fmt.Appendf(nil, `{"version":%d,"sha256":"%x","state":%s}`+"\n", version, sha256.Sum256(body), body)
}

// unwrap is the opposite of wrap; every file that wrap did not make is refused,
// because half a catalog is worse than none.
func unwrap(file []byte) (body []byte, err error) {
	var version int
	if _, err := fmt.Sscanf(string(file[:min(len(file), 32)]), `{"version":%d,`, &version); err != nil {
		return nil, errors.New("it is not a state file of this program, or its beginning is damaged")
	}
	if version != stateVersion {
		return nil, fmt.Errorf("it is of version %d, this program reads version %d", version, stateVersion)
	}
	_, body, _ = bytes.Cut(file, []byte(`"state":`))
	body = bytes.TrimSuffix(body, []byte("}\n"))
	if !bytes.Equal(file, wrap(version, body)) {
		return nil, fmt.Errorf("it is damaged: its %d bytes do not have the checksum that it says", len(file))
	}
	return body, nil
}

func encodeState(s State) ([]byte, error) {
	j := stateJSON{KnownAt: s.KnownAt, Documents: s.Documents, Secret: s.Secret, Keys: s.Keys, Owners: s.Owners, Rollouts: s.Rollouts}
	for svc := range s.Catalog.All() {
		j.Services = append(j.Services, *svc)
	}
	body, err := json.Marshal(j)
	return wrap(stateVersion, body), err
}

func decodeState(file []byte) (s State, err error) {
	body, err := unwrap(file)
	if err != nil {
		return s, err
	}
	var j stateJSON
	if err := json.Unmarshal(body, &j); err != nil {
		return s, fmt.Errorf("it is not readable although its checksum is right: %w", err)
	}
	services := make([]*registry.Service, len(j.Services))
	for i := range j.Services {
		services[i] = &j.Services[i]
		services[i].Normalize()
	}
	return State{
		KnownAt: j.KnownAt, Catalog: registry.New(services...), Documents: j.Documents,
		Secret: j.Secret, Keys: j.Keys, Owners: j.Owners, Rollouts: j.Rollouts,
	}, nil
}

// Save writes the state to path so that at every moment, also after a crash or
// a power cut, either the old file is there or the new one, whole. The file is
// readable by its owner only, since it holds the secret.
func Save(path string, s State) (err error) {
	data, err := encodeState(s)
	if err != nil {
		return fmt.Errorf("save the state to %s: %w", path, err)
	}
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+"-*") // mode 0600
	if err != nil {
		return fmt.Errorf("save the state to %s: %w", path, err)
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("save the state to %s: %w", path, errors.Join(err, os.Remove(f.Name())))
	}
	// The rename itself must reach the disk.
	d, err := os.Open(dir)
	if err == nil {
		err = errors.Join(d.Sync(), d.Close())
	}
	if err != nil {
		return fmt.Errorf("save the state to %s: sync its directory: %w", path, err)
	}
	return nil
}

// Load reads the state from path. The error says why it cannot be used;
// errors.Is(err, fs.ErrNotExist) where there is none yet.
func Load(path string) (State, error) {
	file, err := os.ReadFile(path)
	if err != nil {
		return State{}, fmt.Errorf("load the state: %w", err)
	}
	s, err := decodeState(file)
	if err != nil {
		return State{}, fmt.Errorf("load the state from %s: %w", path, err)
	}
	return s, nil
}
