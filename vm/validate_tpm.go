package vm

// Versions and models of [TPM].
const (
	TPM12  = "1.2"
	TPM20  = "2.0"
	TPMTIS = "tis"
	TPMCRB = "crb"
)

func (v *validator) tpm(t *TPM) {
	if t == nil {
		return
	}
	v.oneOf("tpm.version", t.Version, TPM20, TPM12)
	v.oneOf("tpm.model", t.Model, TPMTIS, TPMCRB)
	if t.Version == TPM12 && t.Model == TPMCRB {
		v.add("tpm.model", t.Model, "is an interface of version 2.0", "use tis, or leave the version out")
	}
}
