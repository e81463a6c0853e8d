"""INSECURE. Evidence signed by a program instead of a processor, for one machine only.

It shows that the parts fit together and protects nothing: whoever can read the root key
file, or the memory of the enclave process, can read every prompt. Imported by
`confide.local` alone; every other verifier refuses it.
"""
