module github.com/maqet/maqet/benchmarks

go 1.26

require (
	github.com/digitalocean/go-qemu v0.0.0-20250212194115-ee9b0668d242
	github.com/maqet/maqet v0.0.0
	github.com/stretchr/testify v1.12.1
)

replace github.com/maqet/maqet => ../
