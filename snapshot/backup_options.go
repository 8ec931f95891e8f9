package snapshot

// FullBackup copies the disks whole, whatever was copied before. For Backup.
func FullBackup() Option {
	return Option{"FullBackup", onBackup, func(o *options) { o.full = true }}
}

// NoChecksums leaves the SHA-256 of the files out of the manifest, so that they are not read
// once more after they were written. VerifyBackup then can't tell that data has changed. For
// Backup.
func NoChecksums() Option {
	return Option{"NoChecksums", onBackup, func(o *options) { o.sumless = true }}
}

// BackupRate limits how much is copied of each disk, in bytes a second, so that the guest and
// others keep some of what the host's disks can do. 0 is no limit, which is the default. For
// Backup.
func BackupRate(bytes int64) Option {
	return Option{"BackupRate", onBackup, func(o *options) { o.rate = max(bytes, 0) }}
}

// PlainText has a backup hold in plain text what encrypted disks hold: whoever can read the
// folder can read it, so keep that on an encrypted file system. Default: a VM with an encrypted
// disk is not backed up. For Backup.
func PlainText() Option {
	return Option{"PlainText", onBackup, func(o *options) { o.plain = true }}
}
