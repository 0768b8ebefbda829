package canary

import (
	"context"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"
)

// unsettled is how long after its modification a file is read again and again: a
// second change may leave its time and its size as they are.
const unsettled = 2 * time.Second

// FileSource is a [Source] of one document, of the service "", in a file. It is
// looked at again and again, and read when its time, its size or the file itself
// changed, so that one that is renamed into place is found as well as one that is
// written. One that is not there, or cannot be read, is lost and not deleted.
//
// The document's index is the file's time, in milliseconds, when its text changed.
type FileSource struct {
	Path  string
	Every time.Duration // between two looks; 0 is DefaultPollEvery, at least MinPollEvery
}

// Run looks until ctx ends; see [Source].
func (s *FileSource) Run(ctx context.Context, emit func(Event)) error {
	r := fileReader{path: s.Path}
	return poll(ctx, s.Every, emit, r.ask)
}

// fileReader is one Run of a source.
type fileReader struct {
	path    string
	info    os.FileInfo // when doc was read; nil: it must be read
	settled bool
	doc     Raw
}

func (r *fileReader) ask(context.Context) (Raw, bool, error) {
	doc, err := r.read()
	if err != nil {
		r.info = nil
		return Raw{}, false, err
	}
	return doc, true, nil
}

func (r *fileReader) read() (Raw, error) {
	info, err := os.Stat(r.path)
	switch {
	case err != nil:
		return Raw{}, err
	case !info.Mode().IsRegular(): // a pipe would never be read to its end
		return Raw{}, fmt.Errorf("read %s: it is no regular file", r.path)
	case r.info != nil && r.settled && os.SameFile(info, r.info) && info.Size() == r.info.Size() && info.ModTime().Equal(r.info.ModTime()):
		return r.doc, nil
	}
	// Another file may have come to the path since: a pipe must not be waited for.
	f, err := os.OpenFile(r.path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return Raw{}, err
	}
	defer f.Close()
	switch info, err = f.Stat(); {
	case err != nil:
		return Raw{}, err
	case !info.Mode().IsRegular():
		return Raw{}, fmt.Errorf("read %s: it is no regular file", r.path)
	}
	// One byte more than a document may have: Parse tells what is wrong with it.
	value, err := io.ReadAll(io.LimitReader(f, MaxSize+1))
	if err != nil {
		return Raw{}, err
	}
	r.info, r.settled = info, time.Since(info.ModTime()) > unsettled
	if r.doc.Value == nil || string(value) != string(r.doc.Value) {
		r.doc = Raw{Key: "file:" + r.path, Value: value, Index: uint64(info.ModTime().UnixMilli())}
	}
	return r.doc, nil
}
