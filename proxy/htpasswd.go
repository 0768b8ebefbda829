package proxy

import (
	"errors"
	"fmt"
	"strings"

	"github.com/tg123/go-htpasswd"
)

// users are those of one htpasswd file. They are immutable.
type users struct {
	byName map[string]*secret
	// decoy stands for users that do not exist, so that nobody learns by the
	// time an answer takes who does; nil where every hash is quick.
	decoy *secret
}

// secret is what a password is compared with.
type secret struct {
	htpasswd.EncodedPasswd
	text string // as in the file
	slow bool   // so costly to compare that results are remembered
}

// parseUsers reads an htpasswd file: "user:hash" in each line, with empty lines
// and those that start with "#" left out. As in Fabio a hash is bcrypt, apr1 or
// MD5 crypt, SHA-256 or SHA-512 crypt, {SHA} or {SSHA}, or else the password
// itself; and of a user that is there twice the last line counts. What is wrong
// with lines is told by their number, without what could be a secret; the other
// lines are read nevertheless.
func parseUsers(text string) (*users, error) {
	u := &users{byName: map[string]*secret{}}
	var bad []error
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		name, hash, ok := strings.Cut(line, ":")
		if !ok || name == "" {
			bad = append(bad, fmt.Errorf("line %d is not user:hash", n))
			continue
		}
		s := parseSecret(hash)
		if s == nil {
			bad = append(bad, fmt.Errorf("line %d: the hash of user %q is of no kind that is known: make one with htpasswd -B", n, name))
			continue
		}
		u.byName[name] = s
		if s.slow && (u.decoy == nil || isBcrypt(s.text)) {
			u.decoy = s
		}
	}
	return u, errors.Join(bad...)
}

// kinds are the hashes that are known, and whether they are slow. A password in
// plain text is what is none of them.
var kinds = [...]struct {
	accept htpasswd.PasswdParser
	slow   bool
}{
	{htpasswd.AcceptBcrypt, true},
	{htpasswd.AcceptMd5, true},
	{htpasswd.AcceptCryptSha, true},
	{htpasswd.AcceptSha, false},
	{htpasswd.AcceptSsha, false},
}

// parseSecret returns nil for what looks like a hash and is none that is known:
// as a plain password it would let in whoever saw it.
func parseSecret(text string) *secret {
	for _, k := range kinds {
		switch p, err := k.accept(text); {
		case err != nil:
			return nil
		case p != nil:
			return &secret{p, text, k.slow}
		}
	}
	if text == "" || text[0] == '$' {
		return nil
	}
	p, err := htpasswd.AcceptPlain(text)
	if err != nil {
		return nil
	}
	return &secret{p, text, false}
}

func isBcrypt(text string) bool { return strings.HasPrefix(text, "$2") }
