package libvirtrpc

import (
	"context"
	"io"
	"net"

	"github.com/digitalocean/go-libvirt"
)

const procScreenshot = 211

// OpenScreenshot has libvirt take a picture of a domain's screen, which is then read until
// io.EOF. Its form, which libvirt's reply names, shows at its beginning. All else is as with
// [OpenConsole]; nothing can be written.
func OpenScreenshot(ctx context.Context, conn net.Conn, uri string, dom libvirt.Domain, screen uint32) (io.ReadCloser, error) {
	var args encoder
	args.domain(dom)
	args.uint32(screen)
	args.uint32(0) // flags
	return openStream(ctx, conn, uri, procScreenshot, args)
}
