module quorate.dev/tests/certificates

go 1.26
