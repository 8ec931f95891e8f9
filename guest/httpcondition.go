package guest

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"

	"github.com/maqet/maqet/errors"
)

// HTTPOK holds when a server in the guest answers a GET of path, such as "/health", on that
// TCP port with a status from 200 to 299. Redirections are not followed. The requests go
// into the guest as [Manager.Dial] does, in growing intervals from 5 to 500 ms.
func HTTPOK(port int, path string) Condition {
	name := fmt.Sprintf("HTTP GET of port %d, %q succeeds", port, path)
	return condition{name, func(ctx context.Context, t Target) error {
		if port < 1 || port > 65535 || !strings.HasPrefix(path, "/") {
			return &errors.Error{Kind: errors.ErrInvalidConfiguration, Op: "wait until " + name, VM: t.ref,
				Msg: "ports go from 1 to 65535, and a path begins with a slash"}
		}
		client := &http.Client{
			Transport: &http.Transport{
				DisableKeepAlives: true,
				DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
					return t.m.Dial(ctx, t.ref, network, address)
				},
			},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}
		url := "http://localhost:" + strconv.Itoa(port) + path
		var last error // says more than that the time is over
		return repeat(ctx, func(ctx context.Context) error {
			err := getOK(ctx, client, url)
			if err != nil && ctx.Err() != nil {
				return errors.Join(err, last)
			}
			last = err
			return err
		})
	}}
}

// getOK makes one request. Everything but a server that answers well, or a guest that is not
// there, may change.
func getOK(ctx context.Context, client *http.Client, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return err
	}
	res, err := client.Do(req)
	switch {
	case err != nil && (ctx.Err() != nil || errors.Is(err, errors.ErrVMNotRunning)):
		return err
	case err != nil:
		return notYet{err}
	}
	_, err = io.Copy(io.Discard, io.LimitReader(res.Body, 1<<20))
	err = errors.Join(err, res.Body.Close())
	if res.StatusCode < 200 || res.StatusCode > 299 {
		err = errors.Join(fmt.Errorf("%s answers %s", url, res.Status), err)
	}
	if err != nil {
		return notYet{err}
	}
	return nil
}
