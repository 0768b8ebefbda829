package canary

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"
)

// SecretKey is where the balancers keep the key of sticky assignment.
const SecretKey = "lb/secret"

// SecretKV is what EnsureSecret needs of a key-value store.
type SecretKV interface {
	// Get returns the value of key; index 0 says that there is none.
	Get(ctx context.Context, key string) (value []byte, index uint64, err error)
	// CAS writes value if the key still has the index, 0 being absent, and
	// reports whether it did.
	CAS(ctx context.Context, key string, value []byte, index uint64) (bool, error)
}

// EnsureSecret returns the hash key that all balancers share, and makes it from
// the system's randomness where there is none. It is written once and never
// again, because another secret gives every sticky client a new draw.
func EnsureSecret(ctx context.Context, kv SecretKV, key string) (secret [2]uint64, err error) {
	for range 3 { // the second read finds what another balancer wrote meanwhile
		value, index, err := kv.Get(ctx, key)
		if err != nil {
			return secret, fmt.Errorf("read the secret %s: %w", key, err)
		}
		if index != 0 {
			return ParseSecret(key, string(value))
		}
		var raw [16]byte
		rand.Read(raw[:])
		if _, err := kv.CAS(ctx, key, []byte(hex.EncodeToString(raw[:])), 0); err != nil {
			return secret, fmt.Errorf("write the secret %s: %w", key, err)
		}
	}
	return secret, fmt.Errorf("write the secret %s: it is neither there nor can it be made", key)
}

// ParseSecret reads a secret: 32 hex digits, space around them ignored. The
// error never shows the value.
func ParseSecret(key, value string) (secret [2]uint64, err error) {
	raw, err := hex.DecodeString(strings.TrimSpace(value))
	if err != nil || len(raw) != 16 {
		return secret, fmt.Errorf("secret %s: want 32 hex digits, got %d bytes of something else; delete the key and a new one is made", key, len(value))
	}
	// Little-endian, as SipHash reads its 16-byte key: any library gives the same draws.
	return [2]uint64{binary.LittleEndian.Uint64(raw), binary.LittleEndian.Uint64(raw[8:])}, nil
}

// FormatSecret writes what ParseSecret reads.
func FormatSecret(secret [2]uint64) string {
	raw := binary.LittleEndian.AppendUint64(nil, secret[0])
	return hex.EncodeToString(binary.LittleEndian.AppendUint64(raw, secret[1]))
}
