// Everything that oidc-provider stores, in one table of PostgreSQL, by prepared statements.

const TABLE = `
  CREATE TABLE stored (
    model text NOT NULL, id text NOT NULL, payload jsonb NOT NULL, grant_id text, uid text, user_code text,
    expires_at timestamptz, consumed_at timestamptz, PRIMARY KEY (model, id)
  );
  CREATE INDEX stored_grant ON stored (grant_id) WHERE grant_id IS NOT NULL;
  CREATE INDEX stored_uid ON stored (model, uid) WHERE uid IS NOT NULL;
  CREATE INDEX stored_user_code ON stored (model, user_code) WHERE user_code IS NOT NULL;
`;

const STATEMENTS = {
  upsert: `
    INSERT INTO stored (model, id, payload, grant_id, uid, user_code, expires_at)
    VALUES ($1, $2, $3, $4, $5, $6, now() + make_interval(secs => $7))
    ON CONFLICT (model, id) DO UPDATE SET payload = $3, grant_id = $4, uid = $5, user_code = $6,
      expires_at = EXCLUDED.expires_at`,
  find: select("id"),
  findByUid: select("uid"),
  findByUserCode: select("user_code"),
  consume: "UPDATE stored SET consumed_at = now() WHERE model = $1 AND id = $2",
  destroy: "DELETE FROM stored WHERE model = $1 AND id = $2",
  revokeByGrantId: "DELETE FROM stored WHERE model = $1 AND grant_id = $2",
};

function select(column) {
  return `
    SELECT payload, extract(epoch FROM consumed_at)::int AS consumed FROM stored
    WHERE model = $1 AND ${column} = $2 AND (expires_at IS NULL OR expires_at > now())`;
}

export const createTable = (pool) => pool.query(TABLE);

export function makeAdapter(pool) {
  const send = (name, values) => pool.query({ name, text: STATEMENTS[name], values });

  return class Adapter {
    constructor(model) {
      this.model = model;
    }

    async upsert(id, payload, expiresIn) {
      const { grantId, uid, userCode } = payload;
      await send("upsert", [this.model, id, JSON.stringify(payload), grantId, uid, userCode, expiresIn]);
    }

    async #find(name, value) {
      const { rows } = await send(name, [this.model, value]);
      if (!rows.length) return undefined;
      const { payload, consumed } = rows[0];
      return consumed === null ? payload : { ...payload, consumed };
    }

    find(id) {
      return this.#find("find", id);
    }

    findByUid(uid) {
      return this.#find("findByUid", uid);
    }

    findByUserCode(userCode) {
      return this.#find("findByUserCode", userCode);
    }

    async consume(id) {
      await send("consume", [this.model, id]);
    }

    async destroy(id) {
      await send("destroy", [this.model, id]);
    }

    async revokeByGrantId(grantId) {
      await send("revokeByGrantId", [this.model, grantId]);
    }
  };
}
