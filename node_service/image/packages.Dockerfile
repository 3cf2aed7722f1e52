# The packages of the allow-list on a bare Python, without the means to add any.
#
# The context holds `packages`, unpacked on the host from wheels whose hashes were checked:
# nothing is fetched here, and pip never enters the image.
ARG BASE_IMAGE=python:3.11-slim-bookworm
FROM ${BASE_IMAGE}

USER root

# No installer, no compiler, no program that runs with somebody else's rights.
RUN python3 -c 'import sys; v = sys.version_info[:2]; sys.exit(None if v == (3, 11) else f"Python 3.11 is wanted, the base image has {v}")' \
 && find / -xdev -depth \( -name pip -o -name 'pip-*' -o -name pip3 -o -name 'pip3.*' -o -name ensurepip \
         -o -name pkg_resources -o -name 'setuptools*' -o -name _distutils_hack -o -name 'wheel-*' -o -name wheel \
         -o -name python-wheels -o -name easy_install \) -exec rm -rf {} + \
 && rm -f /usr/bin/*gcc* /usr/bin/*g++* /usr/bin/*cpp* /usr/bin/cc /usr/bin/c++ /usr/bin/c89* \
      /usr/bin/c99* /usr/bin/*clang* /usr/bin/tcc /usr/bin/ld /usr/bin/ld.* /usr/bin/as \
      /usr/bin/*-ld /usr/bin/*-ld.* /usr/bin/*-as \
 && find / -xdev -type f -perm /6000 -exec chmod ug-s {} + \
 && echo 'experiment:x:65532:65532:experiment:/tmp:/usr/sbin/nologin' >> /etc/passwd \
 && echo 'experiment:x:65532:' >> /etc/group \
 && mkdir -p /experiment /results /run/bioreactor /opt/packages \
 && touch /experiment/script.py

COPY packages /opt/packages

# Byte code that is never compared with its source again, then proof that all can be imported.
ARG IMPORTS=""
# A node whose files are its own alone (its unit's umask) has unpacked them so.
RUN find /opt/packages \( ! -perm -a=r -o -type d ! -perm -a=rx \) -exec chmod a+rX {} + \
 && python3 -m compileall -q --invalidation-mode unchecked-hash /opt/packages \
 && MPLBACKEND=Agg PYTHONPATH=/opt/packages python3 -c "${IMPORTS:-pass}"
