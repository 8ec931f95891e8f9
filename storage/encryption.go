package storage

import (
	"fmt"
	"strconv"
	"time"
)

// Encryption says how an image is encrypted: with LUKS, AES-256 in XTS mode (QEMU manual,
// "Disk image file formats", qcow2, encrypt.format).
type Encryption struct {
	// Secret opens the image. Whoever loses it loses the image.
	Secret Secret
	// Unlock is how long it takes this host to make a key of the secret, each time the image
	// is opened, and whoever guesses, at each guess. 0: 2 s. At least a millisecond.
	Unlock time.Duration
}

// Format prints it without its secret, whatever the verb.
func (e Encryption) Format(f fmt.State, _ rune) {
	_, _ = fmt.Fprintf(f, "LUKS with %v, unlocked in %v", e.Secret, e.Unlock)
}

// maxUnlock is the longest Encryption.Unlock: what is longer is a mistake.
const maxUnlock = time.Minute

// check refuses a secret that QEMU can't use; nil is no encryption.
func (e *Encryption) check() error {
	if e == nil {
		return nil
	}
	if e.Unlock != 0 && (e.Unlock < time.Millisecond || e.Unlock > maxUnlock) {
		return fmt.Errorf("Encryption.Unlock %v is not from 1ms to %v", e.Unlock, maxUnlock)
	}
	return e.Secret.Check()
}

// args returns qemu-img's arguments for it, with the secret as object keyID.
func (e *Encryption) args() []string {
	list := "encrypt.format=luks,encrypt.key-secret=" + keyID
	if e.Unlock != 0 {
		list += ",encrypt.iter-time=" + strconv.FormatInt(e.Unlock.Milliseconds(), 10)
	}
	return []string{"-o", list}
}
