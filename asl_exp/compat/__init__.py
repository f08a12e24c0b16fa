"""Private parts of other packages that asl_exp uses, a file a package, and their warnings.

A name that another package calls its own may go with its next version. All that are used are
gathered here, with the reason, so that tests/unit/test_compat.py can say which went, and no other
room knows of them. Each file imports its own package alone.
"""
