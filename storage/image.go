package storage

// Formats of images. Formats are always stated, never probed: a guest that can write
// to a raw disk could otherwise make the host read any file as a backing file.
const (
	FormatRaw   = "raw"
	FormatQcow2 = "qcow2"
)

// Image is what is known of a disk image.
type Image struct {
	Path   string `json:"path"`
	Format string `json:"format"` // FormatRaw or FormatQcow2
	// Size is the virtual size in bytes: what the guest sees.
	Size int64 `json:"size"`
	// Allocated is what the file takes on the host, in bytes.
	Allocated int64 `json:"allocated"`
	// Device is true for a block device of the host.
	Device bool `json:"device,omitempty"`
	// Encrypted is true for an image that QEMU needs a key for.
	Encrypted bool `json:"encrypted,omitempty"`
	// Base is the path of the image it is an overlay of, empty if of none.
	Base string `json:"base,omitempty"`
	// BaseFormat is the format of Base.
	BaseFormat string `json:"base_format,omitempty"`
}

// CreateSpec says which empty image to make.
type CreateSpec struct {
	Path   string // below the root folder; must not exist; its folder is made, with mode 0700
	Format string // empty: FormatQcow2
	Size   int64  // bytes, at least 512, a multiple of 512
	// Options say how it is laid out. Of a raw image that is how it is preallocated, and that
	// can't be PreallocationMetadata.
	Options Qcow2Options
	// Encryption is for qcow2 images only. Nil: none.
	Encryption *Encryption
	For        For
}

// For says what a new file is registered for. The zero value belongs to no VM.
type For struct {
	Owner string   // ID of a VM
	Disk  string   // name of its disk
	Kind  FileKind // empty: KindDisk, KindOverlay or KindISO, by how it is made
}

// OverlaySpec says which overlay to make.
type OverlaySpec struct {
	Path       string // below the root folder; must not exist; its folder is made, with mode 0700
	Base       string // must exist; opened read-only from now on
	BaseFormat string // FormatRaw or FormatQcow2, never probed
	Size       int64  // bytes; 0: that of Base, and never less
	Options    Qcow2Options
	// Encryption may be nil, for none, unless Base is encrypted: what the guest writes over it
	// would lie open.
	Encryption *Encryption
	For        For
}
