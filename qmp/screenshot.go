package qmp

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/draw"
	"image/png"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/maqet/maqet/errors"
)

// ScreenshotOptions choose a screen. The zero value is the first one.
type ScreenshotOptions struct {
	Device string // id of the display device; empty: the first one
	Head   int    // of a device with several outputs, from 0; only with Device
}

// Screenshot returns what the first screen of the VM called ref shows. A VM without a
// display is errors.ErrQMPUnsupported. The policy counts it as a [Normal] command: unlike
// the dangerous screendump, it names no file of the host. It works while the VM is
// paused, too. Other errors are as for [Manager.Execute].
func (m *Manager) Screenshot(ctx context.Context, ref string) (image.Image, error) {
	return m.ScreenshotOf(ctx, ref, ScreenshotOptions{})
}

// ScreenshotOf is [Manager.Screenshot] of any screen. Its picture is an *image.RGBA.
//
// It travels as PPM, unless a [Screendumper] chooses PNG, also where QEMU could make a PNG (from 7.1 on): that takes less than
// half the time until it is an image (10 ms against 22; BenchmarkScreenshot), of which
// the guest stands still for 4 instead of 13, and it works with every QEMU.
func (m *Manager) ScreenshotOf(ctx context.Context, ref string, o ScreenshotOptions) (image.Image, error) {
	data, err := m.screendump(ctx, ref, o)
	if err != nil {
		return nil, err
	}
	img, err := decodeScreen(data)
	if err != nil {
		return nil, errors.Wrap(errors.ErrQMP, "take a screenshot", m.label(ref), err)
	}
	return img, nil
}

// Screendumper is a [Conn] that takes pictures of screens by itself, because QEMU may run
// where no file of this process is; found by a type assertion.
type Screendumper interface {
	Conn
	// Screendump returns what a screen shows, as a PPM or a PNG, at most 256 MiB. A guest
	// without a display is errors.ErrQMPUnsupported.
	Screendump(ctx context.Context, o ScreenshotOptions) ([]byte, error)
}

// ScreenshotPNG returns what a screen shows as the content of a PNG file.
//
// It is made here, also where QEMU could make it: all in all that is no slower (16 ms
// against 20; BenchmarkScreenshot), QEMU and its guest go on meanwhile, and each PNG
// would leave an empty descriptor set in QEMU 7.2, which closes the file behind its
// own back (ui/console.c, png_save).
func (m *Manager) ScreenshotPNG(ctx context.Context, ref string, o ScreenshotOptions) ([]byte, error) {
	img, err := m.ScreenshotOf(ctx, ref, o)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	if err := png.Encode(&out, img); err != nil {
		return nil, errors.Wrap(errors.ErrQMP, "take a screenshot", m.label(ref), err)
	}
	return out.Bytes(), nil
}

// decodeScreen reads a picture in either form that [Screendumper] names.
func decodeScreen(data []byte) (*image.RGBA, error) {
	if !bytes.HasPrefix(data, []byte("\x89PNG\r\n\x1a\n")) {
		return decodePPM(data)
	}
	header, err := png.DecodeConfig(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	if header.Width > maxScreen/3/max(header.Height, 1) {
		return nil, fmt.Errorf("PNG: %d x %d pixels", header.Width, header.Height)
	}
	img, err := png.Decode(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	out := image.NewRGBA(image.Rect(0, 0, header.Width, header.Height))
	draw.Draw(out, out.Bounds(), img, img.Bounds().Min, draw.Src)
	return out, nil
}

// screendump returns the content of the file that QEMU's screendump writes, a PPM, or what
// a [Screendumper] returns.
func (m *Manager) screendump(ctx context.Context, ref string, o ScreenshotOptions) ([]byte, error) {
	args := map[string]any{}
	if o.Head < 0 || o.Head > 0 && o.Device == "" {
		return nil, &errors.ConfigError{VM: m.label(ref), Problems: []errors.Problem{{Field: "head", Value: strconv.Itoa(o.Head),
			Message: "is an output of a device that is not named", Fix: "set Device, and Head to 0 or higher"}}}
	}
	if o.Device != "" {
		args["device"], args["head"] = o.Device, o.Head
	}
	conn, err := m.find.QMP(ctx, ref)
	if err != nil {
		return nil, err
	}
	if dumper, ok := conn.(Screendumper); ok {
		return m.executed(ctx, ref, Normal, "screendump", args, func() ([]byte, error) {
			data, err := dumper.Screendump(ctx, o)
			return data, onVM(err, m.label(ref))
		})
	}
	inMemory, err := m.takesMemory(ctx, ref)
	if err != nil {
		return nil, err
	}
	dump := m.dumpToFolder
	if inMemory {
		dump = m.dumpToMemory
	}
	data, err := dump(ctx, ref, args)
	if errors.Is(err, errors.ErrQMPCommand) && !m.hasScreen(ctx, ref) {
		return nil, &errors.Error{
			Kind: errors.ErrQMPUnsupported, Op: "take a screenshot", VM: m.label(ref), Msg: "it has no display",
			Hint: "set vm.Config.Display.Adapter", Err: err,
		}
	}
	return data, err
}

// takesMemory reports whether QEMU can write to a descriptor: where its control channel
// passes files, and while the guest runs. While it does not, QEMU 7.2 keeps a removed
// descriptor open for good (monitor/fds.c, monitor_fdset_cleanup), and the picture with it.
func (m *Manager) takesMemory(ctx context.Context, ref string) (bool, error) {
	conn, err := m.find.QMP(ctx, ref)
	if err != nil {
		return false, err
	}
	if _, ok := conn.(FileConn); !ok || !canPassMemory {
		return false, nil
	}
	status, err := m.Status(ctx, ref)
	return status.Running, err
}

// hasScreen reports whether QEMU has a console that could be shown.
func (m *Manager) hasScreen(ctx context.Context, ref string) bool {
	nodes, err := Call[[]struct{ Name string }](ctx, m, ref, "qom-list", map[string]string{"path": "/backend"})
	for _, n := range nodes {
		if strings.HasPrefix(n.Name, "console[") {
			return true
		}
	}
	// Without any console there is no such folder, and QEMU says so.
	return err != nil && !errors.Is(err, errors.ErrQMPCommand)
}

// dumpToMemory lets QEMU write into a file without a name, whose descriptor it gets.
func (m *Manager) dumpToMemory(ctx context.Context, ref string, args map[string]any) ([]byte, error) {
	read, write, err := memoryFile()
	if err != nil {
		return nil, errors.Wrap(errors.ErrQMP, "take a screenshot", m.label(ref), err)
	}
	defer read.Close()
	defer write.Close()
	// QEMU drops descriptor sets when its last client leaves.
	release, err := m.hold(ctx, ref)
	if err != nil {
		return nil, err
	}
	defer release()
	// The set's number is chosen here, so that it can be removed when the answer to
	// add-fd did not come in time.
	set := map[string]int32{"fdset-id": rand.Int32N(1<<31-1-1000) + 1000}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTime)
		defer cancel()
		// When it fails QEMU has gone, or closes the set itself with the monitor.
		_, _ = m.executeAs(ctx, ref, Normal, "remove-fd", set)
	}()
	if _, err := m.executeAs(ctx, ref, Normal, "add-fd", set, write); err != nil {
		return nil, err
	}
	args["filename"] = "/dev/fdset/" + strconv.Itoa(int(set["fdset-id"]))
	if _, err := m.executeAs(ctx, ref, Normal, "screendump", args); err != nil {
		return nil, err
	}
	return m.readScreen(ref, read)
}

// dumpToFolder lets QEMU write a file in a folder that is made for it. It is for control
// channels that can't pass descriptors, such as libvirt's, and for guests that are paused;
// it works where QEMU runs on this host and as this user.
func (m *Manager) dumpToFolder(ctx context.Context, ref string, args map[string]any) (data []byte, err error) {
	dir, err := os.MkdirTemp("", "maqet-screen-") // 0700
	if err != nil {
		return nil, errors.Wrap(errors.ErrQMP, "take a screenshot", m.label(ref), err)
	}
	defer func() {
		if left := os.RemoveAll(dir); left != nil {
			err = errors.Join(err, errors.Wrap(errors.ErrQMP, "take a screenshot", m.label(ref), left))
		}
	}()
	path := filepath.Join(dir, "screen")
	args["filename"] = path
	if _, err := m.executeAs(ctx, ref, Normal, "screendump", args); err != nil {
		return nil, err
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, errors.Wrap(errors.ErrQMP, "take a screenshot", m.label(ref), err)
	}
	defer file.Close()
	return m.readScreen(ref, file)
}

// readScreen reads a picture from its file's start.
func (m *Manager) readScreen(ref string, file *os.File) ([]byte, error) {
	info, err := file.Stat()
	if err == nil && info.Size() > maxScreen {
		err = errors.New("the picture has " + strconv.FormatInt(info.Size(), 10) + " bytes")
	}
	if err != nil {
		return nil, errors.Wrap(errors.ErrQMP, "take a screenshot", m.label(ref), err)
	}
	data := make([]byte, info.Size())
	_, err = file.ReadAt(data, 0)
	if err != nil && err != io.EOF {
		return nil, errors.Wrap(errors.ErrQMP, "take a screenshot", m.label(ref), err)
	}
	return data, nil
}
