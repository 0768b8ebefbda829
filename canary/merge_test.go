package canary

import "testing"

func TestMerge(t *testing.T) {
	f := func(doc, patch, want string) {
		t.Helper()
		b, err := Merge([]byte(doc), []byte(patch))
		got := string(b)
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("Merge(%s, %s)\n got %s\nwant %s", doc, patch, got, want)
		}
	}
	// RFC 7396, appendix A.
	f(`{"a":"b"}`, `{"a":"c"}`, `{"a":"c"}`)
	f(`{"a":"b"}`, `{"b":"c"}`, `{"a":"b","b":"c"}`)
	f(`{"a":"b"}`, `{"a":null}`, `{}`)
	f(`{"a":"b","b":"c"}`, `{"a":null}`, `{"b":"c"}`)
	f(`{"a":["b"]}`, `{"a":"c"}`, `{"a":"c"}`)
	f(`{"a":"c"}`, `{"a":["b"]}`, `{"a":["b"]}`)
	f(`{"a":{"b":"c"}}`, `{"a":{"b":"d","c":null}}`, `{"a":{"b":"d"}}`)
	f(`{"a":[{"b":"c"}]}`, `{"a":[1]}`, `{"a":[1]}`)
	f(`["a","b"]`, `["c","d"]`, `["c","d"]`)
	f(`{"a":"b"}`, `["c"]`, `["c"]`)
	f(`{"a":"foo"}`, `null`, `null`)
	f(`{"a":"foo"}`, `"bar"`, `"bar"`)
	f(`{"e":null}`, `{"a":1}`, `{"e":null,"a":1}`)
	f(`[1,2]`, `{"a":"b","c":null}`, `{"a":"b"}`)
	f(`{}`, `{"a":{"bb":{"ccc":null}}}`, `{"a":{"bb":{}}}`)
	// RFC 7396, section 3.
	f(`{"title":"Goodbye!","author":{"givenName":"John","familyName":"Doe"},"tags":["example","sample"],"content":"This will be unchanged"}`,
		`{"title":"Hello!","phoneNumber":"+01-123-456-7890","author":{"familyName":null},"tags":["example"]}`,
		`{"title":"Hello!","author":{"givenName":"John"},"tags":["example"],"content":"This will be unchanged","phoneNumber":"+01-123-456-7890"}`)

	f(`{"z": 1, "y": {"b": 1, "a": 2}, "x": 3}`, `{"w": 4, "y": {"a": 5, "c": 6}, "z": 7}`, `{"z":7,"y":{"b":1,"a":5,"c":6},"x":3,"w":4}`)
	f(`{"a": "<&>\u2028é\n"}`, `{"ratio": 1e-3}`, `{"a":"<&>`+"\u2028"+`é\n","ratio":1e-3}`)
	f(`{"a": 1`, `{}`, `document:1:8: not JSON: the document ends too early`)
	f(`{}`, `{"a": 1, "a": 2}`, `patch:1:10: field "a" is there twice`)
}

// A merge leaves what it was given as it was.
func TestMergeWritesToNeither(t *testing.T) {
	doc, _ := readNode("document", []byte(`{"a": {"b": 1, "c": 2}, "d": 3}`))
	patch, _ := readNode("patch", []byte(`{"a": {"b": null}, "d": null, "e": 4}`))
	before := string(doc.append(nil)) + string(patch.append(nil))
	merged(doc, patch)
	if got := string(doc.append(nil)) + string(patch.append(nil)); got != before {
		t.Errorf("got %s\nwant %s", got, before)
	}
}

// FuzzMerge: nothing panics; a patch is idempotent, and an empty one changes nothing.
func FuzzMerge(f *testing.F) {
	f.Add([]byte(`{"a":{"b":"c"},"d":[1]}`), []byte(`{"a":{"b":null,"e":{"f":null}},"d":2}`))
	f.Add([]byte(`[1]`), []byte(`{"a":null}`))
	f.Fuzz(func(t *testing.T, doc, patch []byte) {
		once, err := Merge(doc, patch)
		if err != nil {
			return
		}
		twice, err := Merge(once, patch)
		if err != nil || string(twice) != string(once) {
			t.Fatalf("Merge(%s, %s)\n once %s\ntwice %s, %v", doc, patch, once, twice, err)
		}
		same, err := Merge(once, []byte(`{}`))
		if err != nil || once[0] == '{' && string(same) != string(once) {
			t.Fatalf("Merge(%s, {}) = %s, %v", once, same, err)
		}
	})
}
