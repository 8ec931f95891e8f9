package backendtest

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/vm"
)

// pcCode is testdata/pc.S, assembled: a guest of some hundred bytes, up in a fraction of a
// second, that does what the cases ask of it over its serial port.
const pcCode = "" +
	"\xfc\xba\xfb\x03\xb0\x80\xee\xba\xf8\x03\xb8\x01\x00\xef\xba\xfb\x03\xb0\x03\xee\xba\xf9\x03\x30" +
	"\xc0\xee\xba\xfa\x03\xb0\x07\xee\xba\x02\x06\xb8\x00\x01\xef\xbe\x35\x03\xe8\xbd\x00\xfb\xf4\xba" +
	"\x00\x06\xed\xf6\xc4\x01\x75\x21\xba\xfd\x03\xec\xa8\x01\x74\xed\xba\xf8\x03\xec\x3c\x50\x74\x11" +
	"\x3c\x52\x74\x16\x3c\x43\x74\x1a\x3c\x4c\x74\x73\xe8\x9d\x00\xeb\xd6\xba\x04\x06\xb8\x00\x20\xef" +
	"\xeb\xcb\xba\xf9\x0c\xb0\x06\xee\xeb\xc3\xba\x05\x05\xb0\x01\xee\x66\xbb\x00\x00\x00\x80\xba\xf8" +
	"\x0c\x66\x89\xd8\x66\xef\xba\xfc\x0c\x66\xed\x66\x3d\x36\x1b\x11\x00\x74\x08\x81\xc3\x00\x08\x73" +
	"\xe5\xeb\x9a\xb3\x10\xba\xf8\x0c\x66\x89\xd8\x66\xef\xba\xfc\x0c\x66\xb8\x00\x00\x0a\x00\x66\xef" +
	"\xb3\x04\xba\xf8\x0c\x66\x89\xd8\x66\xef\xba\xfc\x0c\xb8\x02\x00\xef\xb8\x00\xa0\x8e\xc0\x26\xc6" +
	"\x06\x00\x00\x01\xe9\x66\xff\x31\xdb\xb1\x0c\x89\xd8\xd3\xe8\x24\x0f\x04\x61\xe8\x1e\x00\x80\xe9" +
	"\x04\x79\xf0\xbe\x3c\x03\xe8\x09\x00\x43\x80\xff\x04\x75\xe2\xe9\x45\xff\xac\x84\xc0\x74\x15\xe8" +
	"\x02\x00\xeb\xf6\x88\xc4\xba\xfd\x03\xec\xa8\x20\x74\xfb\xba\xf8\x03\x88\xe0\xee\xc3" +
	pcBanner + "\x00" + pcLine + "\x00"

// What the guest prints when it is up, and, behind a number, in each of pcLines lines.
const (
	pcBanner = "ready\n"
	pcLine   = " 0123456789 0123456789 0123456789 0123456789 0123456789\n"
	pcLines  = 1024
)

// What the guest does when it reads one of these; anything else it echoes.
const (
	pcPowerOff = "P"
	pcReset    = "R"
	pcCrash    = "C" // tells the panic device, if it has one
	pcPrint    = "L"
)

// pcKernel returns a Linux kernel, as QEMU's -kernel takes it, whose setup part is pcCode
// and which has no other (Linux kernel documentation, "The Linux/x86 Boot Protocol").
func pcKernel() []byte {
	const sector, header, code = 512, 0x1f1, 0x230
	img := make([]byte, 3*sector)
	img[header] = 1 // sectors of the setup part, besides the first
	binary.LittleEndian.PutUint16(img[0x1fe:], 0xaa55)
	copy(img[0x200:], []byte{0xeb, code - 0x202}) // jmp to the code
	copy(img[0x202:], "HdrS")
	binary.LittleEndian.PutUint16(img[0x206:], 0x0202) // the protocol's version
	img[0x211] = 1                                     // loaded high
	binary.LittleEndian.PutUint32(img[0x214:], 1<<20)
	copy(img[code:2*sector], pcCode)
	return img
}

// pcBoot writes the kernel to a file and returns what boots from it.
func (p *place) pcBoot() vm.BootFiles {
	path := filepath.Join(p.TempDir(), "pc")
	require.NoError(p, os.WriteFile(path, pcKernel(), 0o600))
	return vm.BootFiles{Kernel: path}
}

// pc starts a guest that runs pcCode, and returns its console when it is up.
func (p *place) pc(cfg vm.Config) (*launched, net.Conn) {
	p.Helper()
	spec := p.spec(cfg)
	spec.Boot = p.pcBoot()
	g := p.launch(spec)
	require.NoError(p, g.Connect(p.patient()))
	console := p.dial(g, vm.ChannelConsole)
	require.NoError(p, g.Continue(p.patient()))
	p.readUntil(console, pcBanner)
	return g, console
}

// dial opens a channel that nobody else uses.
func (p *place) dial(g vm.Guest, channel string) net.Conn {
	p.Helper()
	conn, err := g.Dial(p.patient(), channel, false)
	require.NoError(p, err)
	p.Cleanup(func() { _ = conn.Close() })
	return conn
}

// readUntil returns what it reads, which ends with text.
func (p *place) readUntil(r net.Conn, text string) string {
	p.Helper()
	require.NoError(p, r.SetReadDeadline(time.Now().Add(p.patience)))
	var got []byte
	buf := make([]byte, 4096)
	for !bytes.Contains(got, []byte(text)) {
		n, err := r.Read(buf)
		got = append(got, buf[:n]...)
		require.NoError(p, err, "while waiting for %q, after %q", text, got)
	}
	return string(got)
}

// say types text on a console.
func (p *place) say(console io.Writer, text string) {
	p.Helper()
	_, err := io.WriteString(console, text)
	require.NoError(p, err)
}

// pcPrinted is everything that pcPrint prints.
func pcPrinted() string {
	var out strings.Builder
	for n := range pcLines {
		for shift := 12; shift >= 0; shift -= 4 {
			out.WriteByte(byte('a' + n>>shift&0xf))
		}
		out.WriteString(pcLine)
	}
	return out.String()
}
