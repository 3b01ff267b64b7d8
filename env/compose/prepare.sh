# Runs once, as root, before the others: secrets that nobody has to invent, and folders with the right owner.
set -eu
umask 022
secrets=/run/retailpulse

make_secret() { # NAME [BYTES]: url-safe base64, as Airflow wants its Fernet key
    [ -s "$secrets/$1" ] || head -c "${2:-24}" /dev/urandom | base64 | tr '+/' '-_' | tr -d '\n' > "$secrets/$1"
}

make_secret airflow-api
make_secret airflow-fernet 32
make_secret airflow-jwt 48
make_secret airflow-postgres
make_secret api
make_secret grafana
make_secret jupyterlab
printf 'postgresql+psycopg2://airflow:%s@airflow-database/airflow' "$(cat $secrets/airflow-postgres)" \
    > "$secrets/airflow-database"

# The images of Hive, HBase, the Schema Registry and the workbench run as user 1000, and new volumes belong to root.
mkdir -p /var/lib/retailpulse/airflow
chown 1000:1000 /var/lib/hbase /var/lib/hive /var/lib/registry /var/lib/retailpulse /var/lib/retailpulse/airflow \
    /var/lib/retailpulse/dashboards
# Spark on the host writes here as another user than the containers'.
chmod 1777 /var/tmp/retailpulse/warehouse
