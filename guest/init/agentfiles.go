package main

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"strings"
	"syscall"
)

// maxFileRead is the largest count of one guest-file-read in bytes, the QEMU
// guest agent's limit; without a count it reads defaultFileRead.
const (
	maxFileRead     = 48 << 20
	defaultFileRead = 4 << 10
)

type fileOpenArgs struct {
	Path string `json:"path"`
	Mode string `json:"mode"`
}

// openFlags are those of the modes of fopen(3).
var openFlags = map[string]int{
	"r": os.O_RDONLY, "w": os.O_WRONLY | os.O_CREATE | os.O_TRUNC, "a": os.O_WRONLY | os.O_CREATE | os.O_APPEND,
	"r+": os.O_RDWR, "w+": os.O_RDWR | os.O_CREATE | os.O_TRUNC, "a+": os.O_RDWR | os.O_CREATE | os.O_APPEND,
}

func (a *agent) fileOpen(args fileOpenArgs) (any, error) {
	mode := strings.ReplaceAll(args.Mode, "b", "")
	if mode == "" {
		mode = "r"
	}
	flags, ok := openFlags[mode]
	if !ok {
		return nil, errGeneric("invalid file open mode '" + args.Mode + "'")
	}
	// A named pipe must not hold up the agent.
	f, err := os.OpenFile(args.Path, flags|syscall.O_NONBLOCK, 0o666)
	if err != nil {
		return nil, errGeneric("failed to open file '" + args.Path + "' (mode: '" + mode + "'): " + err.Error())
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.handles++
	a.files[a.handles] = f
	return a.handles, nil
}

type fileArgs struct {
	Handle int64           `json:"handle"`
	Count  *int64          `json:"count"`
	Data   []byte          `json:"buf-b64"`
	Offset int64           `json:"offset"`
	Whence json.RawMessage `json:"whence"`
}

func (a *agent) file(handle int64) (*os.File, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	f := a.files[handle]
	if f == nil {
		return nil, errGeneric("handle has not been found")
	}
	return f, nil
}

type fileReadReply struct {
	Count int    `json:"count"`
	Data  []byte `json:"buf-b64"`
	EOF   bool   `json:"eof"`
}

func (a *agent) fileRead(args fileArgs) (any, error) {
	f, err := a.file(args.Handle)
	if err != nil {
		return nil, err
	}
	count := int64(defaultFileRead)
	if args.Count != nil {
		count = *args.Count
	}
	if count < 0 || count > maxFileRead {
		return nil, errGeneric("value of argument 'count' is out of range")
	}
	// It grows with what comes: a large count may meet a small file.
	var buf bytes.Buffer
	n, err := io.Copy(&buf, io.LimitReader(f, count))
	if err != nil {
		return nil, errGeneric("failed to read file: " + err.Error())
	}
	data := buf.Bytes()
	if data == nil {
		data = []byte{}
	}
	return fileReadReply{Count: int(n), Data: data, EOF: n < count}, nil
}

type fileWriteReply struct {
	Count int  `json:"count"`
	EOF   bool `json:"eof"`
}

func (a *agent) fileWrite(args fileArgs) (any, error) {
	f, err := a.file(args.Handle)
	if err != nil {
		return nil, err
	}
	data := args.Data
	if args.Count != nil {
		if *args.Count < 0 || *args.Count > int64(len(data)) {
			return nil, errGeneric("value of argument 'count' is out of range")
		}
		data = data[:*args.Count]
	}
	n, err := f.Write(data)
	if err != nil {
		return nil, errGeneric("failed to write to file: " + err.Error())
	}
	return fileWriteReply{Count: n}, nil
}

type fileSeekReply struct {
	Position int64 `json:"position"`
	EOF      bool  `json:"eof"`
}

func (a *agent) fileSeek(args fileArgs) (any, error) {
	f, err := a.file(args.Handle)
	if err != nil {
		return nil, err
	}
	var whence int
	switch string(args.Whence) {
	case "0", `"set"`:
		whence = io.SeekStart
	case "1", `"cur"`:
		whence = io.SeekCurrent
	case "2", `"end"`:
		whence = io.SeekEnd
	default:
		return nil, errGeneric("invalid whence code")
	}
	position, err := f.Seek(args.Offset, whence)
	if err != nil {
		return nil, errGeneric("failed to seek file: " + err.Error())
	}
	return fileSeekReply{Position: position}, nil
}

func (a *agent) fileFlush(args fileArgs) (any, error) {
	// Writes are not buffered here.
	_, err := a.file(args.Handle)
	return empty{}, err
}

func (a *agent) fileClose(args fileArgs) (any, error) {
	f, err := a.file(args.Handle)
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	delete(a.files, args.Handle)
	a.mu.Unlock()
	if err := f.Close(); err != nil {
		return nil, errGeneric("failed to close handle: " + err.Error())
	}
	return empty{}, nil
}
