package main

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// share is a folder of the host that is to be mounted.
type share struct {
	fstype, tag, target string
	writable            bool
}

// mountShares mounts what the host asks for on the kernel's command line. A guest that
// lacks one of its folders would work with an empty one: it does not come up.
func mountShares(mods *modules) error {
	for _, word := range kernelWords() {
		text, ok := strings.CutPrefix(word, "maqet.share=")
		if !ok {
			continue
		}
		s, err := parseShare(text)
		if err == nil {
			mods.loadAlias("fs-" + s.fstype)
			err = s.mount()
		}
		if err != nil {
			return errors.New("share " + word + ": " + err.Error())
		}
	}
	return nil
}

// parseShare reads TYPE,MODE,TAG,TARGET, where TAG and TARGET have other characters than
// letters, digits and some more as % and two hexadecimal digits.
func parseShare(text string) (share, error) {
	parts := strings.Split(text, ",")
	if len(parts) != 4 {
		return share{}, errors.New("is not TYPE,MODE,TAG,TARGET")
	}
	tag, err := unpercent(parts[2])
	if err != nil {
		return share{}, err
	}
	target, err := unpercent(parts[3])
	return share{fstype: parts[0], writable: parts[1] == "rw", tag: tag, target: target}, err
}

func unpercent(s string) (string, error) {
	head, rest, found := strings.Cut(s, "%")
	for found {
		if len(rest) < 2 {
			return "", errors.New("has an unfinished %")
		}
		c, err := strconv.ParseUint(rest[:2], 16, 8)
		if err != nil {
			return "", err
		}
		var more string
		more, rest, found = strings.Cut(rest[2:], "%")
		head += string([]byte{byte(c)}) + more
	}
	return head, nil
}

func (s share) mount() error {
	flags, data := uintptr(syscall.MS_NODEV|syscall.MS_NOSUID), ""
	if !s.writable {
		flags |= syscall.MS_RDONLY // the host refuses writes all the same; so programs are told at once
	}
	if s.fstype == "9p" {
		// The largest message that Linux takes by virtio: 128 pages less 3 (net/9p/trans_virtio.c).
		data = "trans=virtio,version=9p2000.L,msize=512000"
	}
	if err := os.MkdirAll(s.target, 0o755); err != nil {
		return err
	}
	err := syscall.Mount(s.tag, s.target, s.fstype, flags, data)
	if err == syscall.ENODEV {
		return errors.New("mount: this kernel has no " + s.fstype)
	}
	if err != nil {
		return errors.New("mount: " + err.Error())
	}
	return nil
}
