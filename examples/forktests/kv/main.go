// Command kv is a small service that keeps values by HTTP. It is here to be tested: what it
// promises when the disk is full, or the clock jumps, is tested in guests (see its tests).
//
//	kv load DIR N        puts N values, "key 1" to "key N"
//	kv serve DIR ADDR    serves them
//
// PUT, GET and DELETE /v/KEY, with ?ttl=60s for a value that expires; GET /keys?prefix=TEXT.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// largest is how large a value may be, in bytes.
const largest = 1 << 20

// exitInUse is the exit code when another process has the store.
const exitInUse = 3

func main() {
	err := run(os.Args[1:])
	if err == nil {
		return
	}
	fmt.Fprintln(os.Stderr, "kv:", err)
	if errors.Is(err, errInUse) {
		os.Exit(exitInUse)
	}
	os.Exit(1)
}

func run(args []string) (err error) {
	if len(args) != 3 {
		return errors.New("usage: kv load DIR N, kv serve DIR ADDR")
	}
	s, err := openStore(args[1])
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	if args[0] == "serve" {
		return serve(s, args[2])
	}
	n, err := strconv.Atoi(args[2])
	if err != nil {
		return err
	}
	for i := range n {
		if err := s.put(fmt.Sprint("key ", i+1), fmt.Appendf(nil, "value %d", i+1), time.Time{}); err != nil {
			return err
		}
	}
	return nil
}

// serve answers until SIGTERM, and then finishes what it has begun.
func serve(s *store, addr string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	server := &http.Server{Addr: addr, Handler: handler(s), ReadHeaderTimeout: 10 * time.Second}
	done := make(chan error, 1)
	go func() {
		<-ctx.Done()
		done <- server.Shutdown(context.Background())
	}()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return <-done
}

func handler(s *store) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v/{key...}", func(w http.ResponseWriter, r *http.Request) {
		value, err := s.get(r.PathValue("key"))
		answer(w, value, err)
	})
	mux.HandleFunc("PUT /v/{key...}", func(w http.ResponseWriter, r *http.Request) {
		answer(w, nil, putRequest(s, w, r))
	})
	mux.HandleFunc("DELETE /v/{key...}", func(w http.ResponseWriter, r *http.Request) {
		answer(w, nil, s.remove(r.PathValue("key")))
	})
	mux.HandleFunc("GET /keys", func(w http.ResponseWriter, r *http.Request) {
		keys, err := s.keys(r.FormValue("prefix"))
		answer(w, []byte(strings.Join(keys, "\n")), err)
	})
	return mux
}

func putRequest(s *store, w http.ResponseWriter, r *http.Request) error {
	var expires time.Time
	if text := r.FormValue("ttl"); text != "" {
		ttl, err := time.ParseDuration(text)
		if err != nil {
			return err
		}
		expires = time.Now().Add(ttl)
	}
	value, err := io.ReadAll(http.MaxBytesReader(w, r.Body, largest))
	if err != nil {
		return err
	}
	return s.put(r.PathValue("key"), value, expires)
}

// answer says what came of a request by its status.
func answer(w http.ResponseWriter, body []byte, err error) {
	var large *http.MaxBytesError
	switch {
	case err == nil:
		_, _ = w.Write(body) // nobody is left to tell
	case errors.Is(err, fs.ErrNotExist):
		http.Error(w, err.Error(), http.StatusNotFound)
	case errors.As(err, &large):
		http.Error(w, err.Error(), http.StatusRequestEntityTooLarge)
	case errors.Is(err, syscall.ENOSPC):
		http.Error(w, err.Error(), http.StatusInsufficientStorage)
	case errors.Is(err, syscall.EROFS):
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
	default:
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}
