package libvirt

import "github.com/google/uuid"

// secretID is the UUID of the libvirt secret that opens the images of a disk: the same at each
// start.
func secretID(id, disk string) string {
	return uuid.NewSHA1(uuid.NameSpaceURL, []byte(metadataURI+"/"+id+"/"+disk)).String()
}
