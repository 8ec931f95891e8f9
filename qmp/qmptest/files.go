package qmptest

import (
	"os"

	"github.com/maqet/maqet/errors"
)

// keep makes files the server's, to be closed with it.
func (s *Server) keep(files []*os.File) {
	if len(files) == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.files = append(s.files, files...)
}

func getFD(s *Server, r Request) (any, error) {
	name, err := text(r, "fdname")
	if err != nil {
		return nil, err
	}
	if len(r.Files) == 0 {
		return nil, generic("No file descriptor supplied via SCM_RIGHTS")
	}
	s.machine.mu.Lock()
	defer s.machine.mu.Unlock()
	if old := s.machine.named[name]; old != nil {
		_ = old.Close()
	}
	s.machine.named[name] = r.Files[0]
	return nil, nil
}

func closeFD(s *Server, r Request) (any, error) {
	name, err := text(r, "fdname")
	if err != nil {
		return nil, err
	}
	s.machine.mu.Lock()
	defer s.machine.mu.Unlock()
	file := s.machine.named[name]
	if file == nil {
		return nil, generic("File descriptor named '%s' not found", name)
	}
	delete(s.machine.named, name)
	return nil, file.Close()
}

// fdSet is the arguments of add-fd and remove-fd, and the result of add-fd.
type fdSet struct {
	Set *int `json:"fdset-id"`
	FD  int  `json:"fd"`
}

func addFD(s *Server, r Request) (any, error) {
	var args fdSet
	if err := r.Decode(&args); err != nil {
		return nil, err
	}
	if len(r.Files) == 0 {
		return nil, generic("No file descriptor supplied via SCM_RIGHTS")
	}
	s.machine.mu.Lock()
	defer s.machine.mu.Unlock()
	if args.Set == nil { // the first free one
		args.Set = new(int)
		for s.machine.sets[*args.Set] != nil {
			*args.Set++
		}
	}
	s.machine.sets[*args.Set] = append(s.machine.sets[*args.Set], r.Files[0])
	s.machine.lastFD++
	return fdSet{Set: args.Set, FD: s.machine.lastFD}, nil
}

func removeFD(s *Server, r Request) (any, error) {
	var args fdSet
	if err := r.Decode(&args); err != nil {
		return nil, err
	}
	if args.Set == nil {
		return nil, generic("Parameter 'fdset-id' is missing")
	}
	s.machine.mu.Lock()
	defer s.machine.mu.Unlock()
	files := s.machine.sets[*args.Set]
	if files == nil {
		return nil, generic("File descriptor named 'fdset-id:%d' not found", *args.Set)
	}
	delete(s.machine.sets, *args.Set)
	var failed error
	for _, f := range files {
		failed = errors.Join(failed, f.Close())
	}
	return nil, failed
}
