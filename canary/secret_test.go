package canary

import (
	"context"
	"errors"
	"testing"
)

// fakeKV is one key; race is written by someone else before the first CAS.
type fakeKV struct {
	value     string
	race      string
	get, cas  error
	cases     int
	neverSees bool
}

func (f *fakeKV) Get(context.Context, string) ([]byte, uint64, error) {
	if f.get != nil || f.value == "" || f.neverSees {
		return nil, 0, f.get
	}
	return []byte(f.value), 9, nil
}

func (f *fakeKV) CAS(_ context.Context, _ string, value []byte, index uint64) (bool, error) {
	f.cases++
	if f.race != "" {
		f.value, f.race = f.race, ""
	}
	if f.cas != nil || f.value != "" || index != 0 {
		return false, f.cas
	}
	f.value = string(value)
	return true, nil
}

func TestEnsureSecret(t *testing.T) {
	const known = "000102030405060708090a0b0c0d0e0f" // the key of SipHash's own test vectors
	f := func(kv fakeKV, want, wantErr string) {
		t.Helper()
		secret, err := EnsureSecret(t.Context(), &kv, SecretKey)
		got, gotErr := FormatSecret(secret), ""
		if err != nil {
			gotErr = err.Error()
			got = ""
		}
		if want == "new" && got == kv.value && len(got) == 32 && got != known {
			got = "new"
		}
		if got != want || gotErr != wantErr {
			t.Errorf("EnsureSecret\n got %s %s\nwant %s %s", got, gotErr, want, wantErr)
		}
	}
	f(fakeKV{value: known}, known, "")
	f(fakeKV{value: known + "\n"}, known, "")
	f(fakeKV{}, "new", "")
	f(fakeKV{race: known}, known, "")
	f(fakeKV{value: "hunter2"}, "", "secret lb/secret: want 32 hex digits, got 7 bytes of something else; delete the key and a new one is made")
	f(fakeKV{value: known[2:]}, "", "secret lb/secret: want 32 hex digits, got 30 bytes of something else; delete the key and a new one is made")
	f(fakeKV{value: known + "00"}, "", "secret lb/secret: want 32 hex digits, got 34 bytes of something else; delete the key and a new one is made")
	f(fakeKV{get: errors.New("403: Permission denied")}, "", "read the secret lb/secret: 403: Permission denied")
	f(fakeKV{cas: errors.New("403: Permission denied")}, "", "write the secret lb/secret: 403: Permission denied")
	f(fakeKV{neverSees: true}, "", "write the secret lb/secret: it is neither there nor can it be made")

	if s, err := ParseSecret("k", known); err != nil || s != [2]uint64{0x0706050403020100, 0x0f0e0d0c0b0a0908} {
		t.Errorf("ParseSecret: %x %v", s, err)
	}
}
