package process

// blobs adds what the guest reads from fw_cfg and SMBIOS.
func (b *builder) blobs() {}
