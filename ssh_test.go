package maqet_test

import (
	"context"
	"net"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"

	"github.com/maqet/maqet"
	"github.com/maqet/maqet/guest"
)

// checkKey has maqet's own init, whose protocol has no command for it, bring an ssh key in.
// The guest has no ssh server, so one of this host takes any key.
func checkKey(t *testing.T, g *maqet.Machine, run func(args ...string) string) {
	host, err := guest.NewSSHKey()
	require.NoError(t, err)
	var offered ssh.PublicKey
	server := &ssh.ServerConfig{PublicKeyCallback: func(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
		offered = key
		return nil, nil
	}}
	server.AddHostKey(host)
	l, err := net.Listen("unix", filepath.Join(shortDir(t), "ssh"))
	require.NoError(t, err)
	var serving sync.WaitGroup
	serving.Go(func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		link, channels, requests, err := ssh.NewServerConn(conn, server)
		if err != nil {
			_ = conn.Close()
			return
		}
		serving.Go(func() { ssh.DiscardRequests(requests) })
		for c := range channels {
			_ = c.Reject(ssh.Prohibited, "")
		}
		_ = link.Close()
	})
	in, err := g.SSH(t.Context(), guest.WithHostKey(host.PublicKey()), guest.WithDial(func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", l.Addr().String())
	}))
	require.NoError(t, err)
	require.NoError(t, in.Close())
	require.NoError(t, l.Close())
	serving.Wait()

	require.Equal(t, string(ssh.MarshalAuthorizedKey(offered)), run("cat", "/root/.ssh/authorized_keys"))
	require.Equal(t, "700 root\n600 root\n", run("stat", "-c", "%a %U", "/root/.ssh", "/root/.ssh/authorized_keys"))
}
