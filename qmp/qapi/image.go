package qapi

// ImageInfo describes a disk image (qemu-img info --output=json prints the same).
type ImageInfo struct {
	Filename              string             `json:"filename"`
	Format                string             `json:"format"`
	DirtyFlag             bool               `json:"dirty-flag,omitempty"`  // it was not closed properly
	ActualSize            *int64             `json:"actual-size,omitempty"` // bytes that it takes on the host
	VirtualSize           int64              `json:"virtual-size"`          // bytes that the guest sees
	ClusterSize           *int64             `json:"cluster-size,omitempty"`
	Encrypted             bool               `json:"encrypted,omitempty"`
	Compressed            bool               `json:"compressed,omitempty"`
	BackingFilename       string             `json:"backing-filename,omitempty"`      // as the image has it
	FullBackingFilename   string             `json:"full-backing-filename,omitempty"` // as QEMU resolved it
	BackingFilenameFormat string             `json:"backing-filename-format,omitempty"`
	Snapshots             []SnapshotInfo     `json:"snapshots,omitempty"`
	FormatSpecific        *ImageInfoSpecific `json:"format-specific,omitempty"`
	BackingImage          *ImageInfo         `json:"backing-image,omitempty"`
}

// SnapshotInfo is an internal snapshot.
type SnapshotInfo struct {
	ID          string `json:"id"`            // unique in the image
	Name        string `json:"name"`          // called tag in snapshot-save
	VMStateSize int64  `json:"vm-state-size"` // bytes; 0: the disk alone
	DateSec     int64  `json:"date-sec"`      // when it was made, Unix time
	DateNsec    int64  `json:"date-nsec"`
	VMClockSec  int64  `json:"vm-clock-sec"` // how long the guest had run
	VMClockNsec int64  `json:"vm-clock-nsec"`
	Icount      *int64 `json:"icount,omitempty"` // instructions executed, in replay mode
}

// ImageInfoSpecific is what only images of one format have. Data is one of
// [ImageInfoSpecificQCow2], [ImageInfoSpecificVmdk], [QCryptoBlockInfoLUKS],
// [ImageInfoSpecificRbd], [ImageInfoSpecificFile], or a json.RawMessage for a kind
// that this package does not know.
type ImageInfoSpecific struct {
	Type ImageInfoSpecificKind `json:"type"`
	Data any                   `json:"data"`
}

// UnmarshalJSON implements json.Unmarshaler.
func (i *ImageInfoSpecific) UnmarshalJSON(data []byte) error {
	return unmarshalUnion(data, &i.Type, &i.Data, imageInfoSpecificBranch)
}

func imageInfoSpecificBranch(kind ImageInfoSpecificKind) any {
	switch kind {
	case ImageInfoSpecificKindQcow2:
		return new(ImageInfoSpecificQCow2)
	case ImageInfoSpecificKindVmdk:
		return new(ImageInfoSpecificVmdk)
	case ImageInfoSpecificKindLUKS:
		return new(QCryptoBlockInfoLUKS)
	case ImageInfoSpecificKindRbd:
		return new(ImageInfoSpecificRbd)
	case ImageInfoSpecificKindFile:
		return new(ImageInfoSpecificFile)
	}
	return nil
}

// ImageInfoSpecificKind is the kind of an [ImageInfoSpecific].
type ImageInfoSpecificKind string

// Values of ImageInfoSpecificKind.
const (
	ImageInfoSpecificKindQcow2 ImageInfoSpecificKind = "qcow2"
	ImageInfoSpecificKindVmdk  ImageInfoSpecificKind = "vmdk"
	ImageInfoSpecificKindLUKS  ImageInfoSpecificKind = "luks"
	ImageInfoSpecificKindRbd   ImageInfoSpecificKind = "rbd"
	ImageInfoSpecificKindFile  ImageInfoSpecificKind = "file" // QEMU 8.0
)

// ImageInfoSpecificQCow2 is what a qcow2 image has.
type ImageInfoSpecificQCow2 struct {
	Compat          string                            `json:"compat"` // "0.10" or "1.1"
	DataFile        string                            `json:"data-file,omitempty"`
	DataFileRaw     bool                              `json:"data-file-raw,omitempty"` // the data file is a valid raw image by itself
	ExtendedL2      bool                              `json:"extended-l2,omitempty"`   // 32 subclusters for each cluster
	LazyRefcounts   bool                              `json:"lazy-refcounts,omitempty"`
	Corrupt         bool                              `json:"corrupt,omitempty"` // it was marked corrupt; it can't be written any more
	RefcountBits    int64                             `json:"refcount-bits"`     // width of a reference counter
	Encrypt         *ImageInfoSpecificQCow2Encryption `json:"encrypt,omitempty"`
	Bitmaps         []Qcow2BitmapInfo                 `json:"bitmaps,omitempty"`
	CompressionType Qcow2CompressionType              `json:"compression-type"`
}

// ImageInfoSpecificQCow2Encryption is how a qcow2 image is encrypted: the format, and
// for luks the members of [QCryptoBlockInfoLUKS].
type ImageInfoSpecificQCow2Encryption struct {
	Format BlockdevQcow2EncryptionFormat `json:"format"`
	*QCryptoBlockInfoLUKS
}

// BlockdevQcow2EncryptionFormat is a way to encrypt a qcow2 image.
type BlockdevQcow2EncryptionFormat string

// Values of BlockdevQcow2EncryptionFormat.
const (
	BlockdevQcow2EncryptionFormatAES  BlockdevQcow2EncryptionFormat = "aes"
	BlockdevQcow2EncryptionFormatLUKS BlockdevQcow2EncryptionFormat = "luks"
)

// Qcow2BitmapInfo is a dirty bitmap that is stored in an image.
type Qcow2BitmapInfo struct {
	Name        string                 `json:"name"`
	Granularity uint32                 `json:"granularity"` // bytes for each bit
	Flags       []Qcow2BitmapInfoFlags `json:"flags"`
}

// Qcow2BitmapInfoFlags is a state of a stored bitmap.
type Qcow2BitmapInfoFlags string

// Values of Qcow2BitmapInfoFlags.
const (
	Qcow2BitmapInfoFlagsInUse Qcow2BitmapInfoFlags = "in-use" // the image was not closed properly, or is in use
	Qcow2BitmapInfoFlagsAuto  Qcow2BitmapInfoFlags = "auto"   // it records from the start
)

// Qcow2CompressionType is how clusters are compressed.
type Qcow2CompressionType string

// Values of Qcow2CompressionType.
const (
	Qcow2CompressionTypeZlib Qcow2CompressionType = "zlib"
	Qcow2CompressionTypeZstd Qcow2CompressionType = "zstd"
)

// QCryptoBlockInfoLUKS is how an image is encrypted with LUKS. The names of algorithms
// are those of cryptsetup.
type QCryptoBlockInfoLUKS struct {
	CipherAlg      string                     `json:"cipher-alg"`
	CipherMode     string                     `json:"cipher-mode"`
	IvgenAlg       string                     `json:"ivgen-alg"`
	IvgenHashAlg   string                     `json:"ivgen-hash-alg,omitempty"`
	HashAlg        string                     `json:"hash-alg"`
	DetachedHeader bool                       `json:"detached-header"` // QEMU 9.0
	PayloadOffset  int64                      `json:"payload-offset"`  // bytes
	MasterKeyIters int64                      `json:"master-key-iters"`
	UUID           string                     `json:"uuid"`
	Slots          []QCryptoBlockInfoLUKSSlot `json:"slots"`
}

// QCryptoBlockInfoLUKSSlot is one of the places for a key.
type QCryptoBlockInfoLUKSSlot struct {
	Active    bool   `json:"active"`
	Iters     *int64 `json:"iters,omitempty"`
	Stripes   *int64 `json:"stripes,omitempty"`
	KeyOffset int64  `json:"key-offset"`
}

// ImageInfoSpecificVmdk is what a VMDK image has.
type ImageInfoSpecificVmdk struct {
	CreateType string           `json:"create-type"`
	CID        int64            `json:"cid"`
	ParentCID  int64            `json:"parent-cid"`
	Extents    []VmdkExtentInfo `json:"extents"`
}

// VmdkExtentInfo is one file of a VMDK image.
type VmdkExtentInfo struct {
	Filename    string `json:"filename"`
	Format      string `json:"format"`
	VirtualSize int64  `json:"virtual-size"`
	ClusterSize *int64 `json:"cluster-size,omitempty"`
	Compressed  bool   `json:"compressed,omitempty"`
}

// ImageInfoSpecificRbd is what an image on Ceph has.
type ImageInfoSpecificRbd struct {
	EncryptionFormat string `json:"encryption-format,omitempty"`
}

// ImageInfoSpecificFile is what a plain file has.
type ImageInfoSpecificFile struct {
	ExtentSizeHint *uint64 `json:"extent-size-hint,omitempty"` // bytes
}
