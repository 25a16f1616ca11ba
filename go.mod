module cr

go 1.26

require (
	github.com/hugelgupf/vmtest v0.0.0-20240307030256-5d9f3d34a58d
	github.com/spf13/pflag v1.0.5
	github.com/stretchr/testify v1.12.1
	golang.org/x/net v0.35.0
	golang.org/x/sys v0.31.0
)

require (
	github.com/Netflix/go-expect v0.0.0-20220104043353-73e0943537d2 // indirect
	github.com/creack/pty v1.1.21 // indirect
	go.yaml.in/yaml/v3 v3.0.5 // indirect
	golang.org/x/sync v0.6.0 // indirect
)
